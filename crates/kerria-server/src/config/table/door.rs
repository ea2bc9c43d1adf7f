//! Settings of throttling, for each of the three doors an attempt to sign in goes through.

use std::time::Duration;

use super::{Setting, row};
use crate::config::kind::Kind;

const SECOND: Duration = Duration::from_secs(1);
const MANY: u32 = 1_000_000;

pub(super) static THROTTLE: &[Setting] = &[
    row(
        "throttle.account_free",
        "10",
        Kind::Number { least: 0, most: MANY, set: |c, v| c.throttle.account.free = v },
        "5",
        "How many sign-ins to one account may fail before they are slowed down. It counts attempts from devices that \
         the user has not signed in from before.",
    ),
    row(
        "throttle.account_delay",
        "1s",
        Kind::Duration { least: SECOND, set: |c, v| c.throttle.account.delay = v },
        "5s",
        "How long the account's next attempt then has to wait. Each further failure doubles it.",
    ),
    row(
        "throttle.account_longest",
        "15m",
        Kind::Duration { least: SECOND, set: |c, v| c.throttle.account.longest = v },
        "1h",
        "The longest that the account's next attempt has to wait.",
    ),
    row(
        "throttle.account_closes_after",
        "100",
        Kind::Number { least: 1, most: MANY, set: |c, v| c.throttle.account.closes_after = v },
        "50",
        "After how many failures an account takes no more attempts until they are forgotten. NIST SP 800-63B-4 \
         (section 3.2.2) asks for at most 100. Devices that its user knows stay open.",
    ),
    row(
        "throttle.visitors_free",
        "1000",
        Kind::Number { least: 0, most: MANY, set: |c, v| c.throttle.visitors_free = v },
        "100",
        "How many sessions one network may open within an hour by putting data into them without signing in. After \
         that they are slowed down.",
    ),
    row(
        "throttle.network_free",
        "30",
        Kind::Number { least: 0, most: MANY, set: |c, v| c.throttle.network.free = v },
        "100",
        "How many sign-ins from one network may fail, over all accounts, before they are slowed down.",
    ),
    row(
        "throttle.network_delay",
        "1s",
        Kind::Duration { least: SECOND, set: |c, v| c.throttle.network.delay = v },
        "2s",
        "How long the network's next attempt then has to wait. Each further failure doubles it.",
    ),
    row(
        "throttle.network_longest",
        "5m",
        Kind::Duration { least: SECOND, set: |c, v| c.throttle.network.longest = v },
        "1m",
        "The longest that the network's next attempt has to wait.",
    ),
    row(
        "throttle.network_closes_after",
        "1000",
        Kind::Number { least: 1, most: MANY, set: |c, v| c.throttle.network.closes_after = v },
        "10000",
        "After how many failures a network gets no more attempts until they are forgotten. Many people may share one \
         network, so it is high.",
    ),
    row(
        "throttle.device_free",
        "10",
        Kind::Number { least: 0, most: MANY, set: |c, v| c.throttle.device.free = v },
        "20",
        "How many sign-ins may fail on a device that the user has signed in from before, until they are slowed down.",
    ),
    row(
        "throttle.device_delay",
        "1s",
        Kind::Duration { least: SECOND, set: |c, v| c.throttle.device.delay = v },
        "2s",
        "How long the device's next attempt then has to wait. Each further failure doubles it.",
    ),
    row(
        "throttle.device_longest",
        "15m",
        Kind::Duration { least: SECOND, set: |c, v| c.throttle.device.longest = v },
        "5m",
        "The longest that the device's next attempt has to wait.",
    ),
    row(
        "throttle.device_closes_after",
        "100",
        Kind::Number { least: 1, most: MANY, set: |c, v| c.throttle.device.closes_after = v },
        "50",
        "After how many failures a device gets no more attempts until they are forgotten.",
    ),
    row(
        "throttle.forget_after",
        "24h",
        Kind::Duration {
            least: SECOND,
            set: |c, v| {
                for rule in [&mut c.throttle.account, &mut c.throttle.network, &mut c.throttle.device] {
                    rule.forget_after = v;
                }
            },
        },
        "12h",
        "After how long without a failure all of them are forgotten.",
    ),
];
