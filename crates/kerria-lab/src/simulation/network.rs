//! What lies between the processes.

use fastrand::Rng;

use super::history::Time;

/// How bad it is, in one schedule.
pub(super) struct Weather {
    /// The longest delay of a message, in microseconds.
    delay: Time,
    /// Messages lost, of a hundred.
    lost: u8,
    /// Messages that arrive twice, of a hundred.
    doubled: u8,
    /// How often something breaks, of a hundred chances.
    pub(super) trouble: u8,
}

impl Weather {
    pub(super) fn of(random: &mut Rng) -> Self {
        let one_of = |random: &mut Rng, choices: &[u64]| choices[random.usize(..choices.len())];
        Self {
            delay: one_of(random, &[2_000, 2_000, 50_000, 600_000, 2_000_000]),
            lost: one_of(random, &[0, 0, 3, 25]) as u8,
            doubled: one_of(random, &[0, 5, 20]) as u8,
            trouble: one_of(random, &[0, 20, 60]) as u8,
        }
    }

    /// After which delays a message arrives: not at all, once, or twice. Most are quick, some are not.
    pub(super) fn deliveries(&self, random: &mut Rng) -> impl Iterator<Item = Time> + use<> {
        let lost = random.u8(..100) < self.lost;
        let doubled = random.u8(..100) < self.doubled;
        let mut delay = || {
            let slow = random.u8(..100) < 15;
            random.u64(50..=if slow { self.delay } else { 2_000 })
        };
        let (first, second) = (delay(), delay());
        [(!lost).then_some(first), (doubled && !lost).then_some(second)].into_iter().flatten()
    }
}

/// The clock of a process: it began somewhere, and runs a little too fast or too slow.
#[derive(Clone, Copy)]
pub(super) struct LocalClock {
    began: u64,
    /// Millionths.
    too_fast: i64,
}

impl LocalClock {
    pub(super) fn of(random: &mut Rng) -> Self {
        Self { began: random.u64(..1 << 50), too_fast: random.i64(-10_000..=10_000) }
    }

    pub(super) fn at(self, time: Time) -> kerria_core::Moment {
        let nanos = i64::try_from(time * 1_000).expect("schedules are short");
        let shown = nanos + nanos / 1_000_000 * self.too_fast;
        kerria_core::Moment(self.began.saturating_add_signed(shown))
    }
}
