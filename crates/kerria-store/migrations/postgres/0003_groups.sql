-- The groups that a user is in: words with spaces between them, in the order of the alphabet.
ALTER TABLE account ADD COLUMN member_of TEXT NOT NULL DEFAULT '';
