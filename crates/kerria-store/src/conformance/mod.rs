//! The rules of the storage contract, as sentences.
//!
//! Each rule is a function that takes a fresh, empty store. [`conformance!`](crate::conformance!) makes a test of
//! each, so that another store only has to say how it is opened.
#![expect(missing_docs, reason = "the names are the sentences")]
#![expect(clippy::unwrap_used, reason = "these are tests, for whichever store runs them")]

pub mod accounts;
pub mod audit;
pub mod doors;
pub mod model;
mod play;
pub mod races;
pub mod revocation;
pub mod session_data;
pub mod sessions;

use std::sync::Arc;

use async_trait::async_trait;
use kerria_core::Store;

/// A fresh, empty store, and all that it stands on.
#[async_trait]
pub trait Stage: Send {
    /// The store.
    fn store(&self) -> Arc<dyn Store>;

    /// Closes the store and opens it again, with all that it keeps. Nobody holds another handle to it. A store that
    /// keeps nothing does nothing.
    async fn reopen(&mut self) {}
}

/// Makes one test of each rule. Takes an expression that gives a [`Stage`](crate::conformance::Stage); it is evaluated
/// for each test, in an asynchronous block.
#[macro_export]
macro_rules! conformance {
    ($stage:expr) => {
        $crate::conformance! { @rules $stage;
            accounts:
                a_user_is_found_by_every_spelling_of_either_name
                a_taken_name_is_taken_in_every_spelling
                a_new_account_is_noted_in_the_audit_log
                users_are_listed_page_by_page
                an_invitation_is_good_for_one_account
                a_taken_name_does_not_use_up_the_invitation
                an_invitation_is_over_at_its_very_instant
                the_link_for_the_first_account_works_only_while_there_is_none
                withdrawn_links_for_the_first_account_do_not_work_and_other_invitations_do
                a_new_password_ends_all_sessions_and_makes_devices_unknown
                of_many_devices_of_a_user_the_latest_are_known
                what_an_ended_session_asked_for_is_not_done
                the_session_that_is_kept_gets_a_new_token
                a_stale_change_of_password_changes_nothing
                an_operator_sets_a_password_whatever_the_version
                a_rehash_replaces_only_the_hash_that_was_verified
                a_renamed_user_is_called_so_at_once_and_checkers_hear_of_it
                a_user_keeps_or_respells_the_own_name_and_takes_nobody_elses
                disabling_ends_all_sessions_and_enabling_revives_none
                a_deleted_user_leaves_the_audit_log_and_nothing_else
                a_device_is_known_to_the_user_who_signed_in_from_it
            ;
            audit:
                lines_are_read_back_as_they_were_written_the_newest_first
                all_processes_get_the_keys_that_the_first_one_kept
                a_healthy_store_says_so_and_is_unchanged
            ;
            doors:
                attempts_are_counted_and_slowed_down
                one_closed_door_is_enough_and_the_open_ones_count_nothing
                a_success_takes_back_its_own_attempt_only
                more_is_never_taken_back_than_was_counted
                a_reset_forgets_the_failures_at_that_door
                the_sweep_forgets_what_would_be_forgotten_anyway
            ;
            races:
                with_a_limit_of_one_two_sign_ins_at_once_leave_one_session
                a_session_opened_while_all_are_ended_survives_whole_or_not_at_all
                a_sign_in_never_overtakes_a_change_of_password
                of_two_changes_of_a_password_one_wins
                of_many_uses_of_an_invitation_one_succeeds
                of_many_who_want_one_name_one_gets_it
                of_many_links_for_the_first_account_one_works
                of_a_thousand_guesses_at_once_only_the_free_ones_go_through
                a_thousand_increments_at_once_add_up_to_a_thousand
                two_who_write_different_keys_at_once_both_stand
                many_who_write_at_once_do_not_exceed_the_limits
                nothing_in_flight_revives_a_session_or_leaves_data_of_it
                of_two_renewals_with_one_token_one_succeeds
                a_follower_hears_every_entry_once_in_order_and_before_the_answer
                who_begins_to_follow_in_the_middle_misses_nothing
                what_was_read_before_an_end_is_never_accepted_after_it
                log_numbers_are_given_without_gap_or_repetition
            ;
            revocation:
                ending_a_session_ends_it_alone_and_its_data_with_it
                each_selector_ends_what_it_selects
                ending_nothing_writes_nothing_except_about_everyone
                what_is_opened_after_an_end_of_everything_stands
                the_log_is_read_page_by_page
                who_asks_for_what_was_removed_is_told_to_start_over
                who_knows_more_than_was_ever_written_is_told_to_start_over
                an_entry_of_a_clock_that_went_back_leaves_no_hole
                a_follower_has_applied_what_is_answered_and_nothing_from_before
                what_was_found_is_as_of_the_last_entry
            ;
            session_data:
                a_value_stands_under_its_key_until_it_is_replaced_or_removed
                a_session_that_ended_takes_no_data
                an_increment_answers_the_sum
                only_a_whole_number_is_incremented_and_stays_one
                what_is_too_much_is_refused_with_the_limit_in_the_way
                a_full_session_can_still_replace_what_it_holds
                a_value_counts_in_bytes_and_not_in_characters
                the_first_value_of_a_visitor_opens_a_session_with_nobody_signed_in
                a_visitor_whose_value_is_refused_gets_no_session
            ;
            sessions:
                a_session_is_found_by_its_token_and_says_all_about_itself
                an_unknown_token_finds_nothing
                a_user_without_a_name_is_called_by_the_address
                a_sign_in_is_noted_with_the_user_and_in_the_audit_log
                a_sign_in_with_outdated_credentials_opens_nothing
                an_enabled_user_signs_in_with_newly_verified_credentials
                the_replaced_session_ends_and_the_log_says_why
                only_the_named_data_of_a_visitor_survives_a_sign_in
                own_data_survives_a_new_sign_in_and_another_users_does_not
                a_session_that_ended_before_it_was_replaced_gives_nothing_and_ends_no_second_time
                at_the_limit_a_sign_in_is_refused_and_changes_nothing
                at_the_limit_the_sessions_that_were_opened_first_end
                sessions_that_time_has_ended_do_not_count_for_the_limit
                the_replaced_session_does_not_count_for_the_limit
                a_touch_moves_the_time_forward_only
                a_touch_revives_nothing
                a_renewed_session_is_the_same_with_a_new_token
                a_session_is_renewed_by_its_present_token_only
                the_sessions_of_a_user_are_listed_the_last_used_first
                all_sessions_are_listed_page_by_page_anonymous_ones_too
                the_sweep_removes_what_time_has_ended_and_nothing_else
                a_session_of_a_deleted_user_is_not_found_under_any_name
            ;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn any_sequence_of_steps_does_what_the_model_says() {
            $crate::conformance::model::follows_the_model(async || $stage).await;
        }
    };
    (@rules $stage:expr; $($subject:ident: $($rule:ident)*;)*) => {$(
        mod $subject {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $rule() {
                    let stage = $stage;
                    $crate::conformance::$subject::$rule($crate::conformance::Stage::store(&stage)).await;
                }
            )*
        }
    )*};
}

#[cfg(test)]
mod tests {
    /// A rule that is written but not listed would never be run.
    #[test]
    fn every_rule_is_listed() {
        let list = include_str!("mod.rs");
        for source in [
            include_str!("accounts.rs"),
            include_str!("audit.rs"),
            include_str!("doors.rs"),
            include_str!("races.rs"),
            include_str!("revocation.rs"),
            include_str!("session_data.rs"),
            include_str!("sessions.rs"),
        ] {
            for rule in source.split("\npub async fn ").skip(1) {
                let (name, _) = rule.split_once('(').unwrap();
                assert!(list.contains(&format!(" {name}\n")), "{name} is not listed");
            }
        }
    }
}
