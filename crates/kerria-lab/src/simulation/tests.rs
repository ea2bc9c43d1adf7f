use super::{Flaw, Tally, world::play};

/// Plays schedules until the mistake shows. Says after how many.
fn found(flaw: Flaw) -> u64 {
    let seed = (0..20_000).find(|seed| play(*seed, Some(flaw)).is_err());
    let seed = seed.unwrap_or_else(|| panic!("20,000 schedules do not show {flaw:?}"));
    assert_eq!(play(seed, Some(flaw)), play(seed, Some(flaw)), "a seed plays the same again");
    assert!(play(seed, None).is_ok(), "without the mistake, schedule {seed} is fine");
    seed
}

fn all_is_well(seeds: std::ops::Range<u64>) {
    let mut total = Tally::default();
    for seed in seeds {
        total += play(seed, None).unwrap_or_else(|violation| panic!("{violation}"));
    }
    // And it was about something.
    for count in [
        total.accepted_from_memory,
        total.accepted_from_store,
        total.refused,
        total.without_lease,
        total.acknowledged,
        total.waited_out,
        total.started_over,
        total.forgotten,
        total.lives_settled,
        total.crashes,
        total.pauses,
    ] {
        assert!(count > 0, "{total}");
    }
}

#[test]
fn no_checker_accepts_what_was_ended_in_the_first_10_000_schedules() {
    all_is_well(0..10_000);
}

#[test]
fn no_checker_accepts_what_was_ended_in_the_next_10_000_schedules() {
    all_is_well(10_000..20_000);
}

#[test]
fn a_lease_counted_from_the_reply_is_found() {
    found(Flaw::LeaseFromTheReply);
}

#[test]
fn a_fill_that_does_not_ask_the_set_is_found() {
    found(Flaw::FillWithoutTheSet);
}

#[test]
fn a_gap_in_the_sequence_is_found() {
    found(Flaw::GapInTheSequence);
}

#[test]
fn a_renewal_that_skips_entries_is_found() {
    found(Flaw::RenewalThatSkips);
}

#[test]
fn a_lease_kept_across_a_reconnect_is_found() {
    found(Flaw::LeaseAcrossAReconnect);
}

#[test]
fn a_store_that_forgot_its_leases_and_acknowledges_at_once_is_found() {
    found(Flaw::ForgottenLeases);
}

#[test]
fn an_acknowledgement_before_the_entries_are_applied_is_found() {
    found(Flaw::AcknowledgedBeforeApplied);
}
