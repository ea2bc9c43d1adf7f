-- What a server of schema version 1 left: Alice in two sessions, a visitor with a value, and a log of five entries of
-- which the first was trimmed.
INSERT INTO account VALUES
    (x'0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a', 'Alice', NULL, 'alice', NULL,
     '$hash', 1, 'active', 1800000000000, NULL);
INSERT INTO session VALUES
    (x'01010101010101010101010101010101',
     x'0101010101010101010101010101010101010101010101010101010101010101',
     x'0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a', 'password', 'cookie', 0,
     1800000000000, 1800000000001, 1800000000000, 'curl/8', '192.0.2.7'),
    (x'02020202020202020202020202020202',
     x'0202020202020202020202020202020202020202020202020202020202020202',
     x'0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a', 'invitation', 'bearer', 1,
     1800000000000, 1800000000002, 1800000000000, 'curl/8', '2001:db8::1'),
    (x'03030303030303030303030303030303',
     x'0303030303030303030303030303030303030303030303030303030303030303',
     NULL, NULL, 'cookie', 0,
     1800000000000, 1800000000003, 1800000000000, 'curl/8', '192.0.2.7');
INSERT INTO session_data VALUES (x'03030303030303030303030303030303', 'cart', '[1]');
INSERT INTO log VALUES
    (2, 1800000000002, 'session', NULL, x'04040404040404040404040404040404', 'signed_out'),
    (3, 1800000000003, 'user', x'0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a', NULL, NULL),
    (4, 1800000000004, 'user_except', x'0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a', x'01010101010101010101010101010101',
     'password_changed'),
    (5, 1800000000005, 'everyone', NULL, NULL, 'operator');
UPDATE log_counter SET number = 5, removed = 1;
