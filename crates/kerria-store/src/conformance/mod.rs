//! The rules of the storage contract, as sentences.
//!
//! Each rule is a function that takes a fresh, empty store. [`conformance!`](crate::conformance!) makes a test of
//! each, so that another store only has to say how it is opened.
#![expect(missing_docs, reason = "the names are the sentences")]
#![expect(clippy::unwrap_used, reason = "these are tests, for whichever store runs them")]

pub mod accounts;
pub mod audit;
pub mod clients;
pub mod doors;
pub mod model;
mod play;
pub mod races;
pub mod refresh;
pub mod revocation;
pub mod rotation;
pub mod session_data;
pub mod sessions;
pub mod signing_keys;
pub mod token_races;
pub mod tokens;

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
                a_user_is_in_the_groups_that_they_were_put_in_and_checkers_hear_of_it
                groups_that_change_nothing_write_nothing_and_too_many_are_refused
                of_many_who_change_the_groups_of_one_user_at_once_none_is_lost
                disabling_ends_all_sessions_and_enabling_revives_none
                a_deleted_user_leaves_the_audit_log_and_nothing_else
                a_device_is_known_to_the_user_who_signed_in_from_it
            ;
            audit:
                lines_are_read_back_as_they_were_written_the_newest_first
                all_processes_get_the_keys_that_the_first_one_kept
                a_healthy_store_says_so_and_is_unchanged
            ;
            clients:
                a_client_is_read_back_as_it_was_registered
                a_taken_client_identifier_is_taken_and_nothing_is_changed
                a_change_of_a_client_changes_all_of_it_and_no_other
                a_replaced_secret_of_a_client_does_not_come_back
                removing_a_client_ends_all_that_was_issued_to_it_for_good
                removing_a_client_nobody_uses_is_logged_too
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
                whoever_reads_a_value_after_another_reads_nothing_older
                of_two_renewals_with_one_token_one_succeeds
                a_follower_hears_every_entry_once_in_order_and_before_the_answer
                who_begins_to_follow_in_the_middle_misses_nothing
                what_was_read_before_an_end_is_never_accepted_after_it
                log_numbers_are_given_without_gap_or_repetition
            ;
            refresh:
                a_refresh_gives_a_new_token_and_the_session_goes_on
                a_rotation_writes_nothing_into_either_log
                a_lost_reply_is_forgiven_with_the_same_successor_each_time
                the_window_does_not_grow_with_its_use
                each_rotation_has_a_window_of_its_own
                a_token_that_comes_again_after_the_window_ends_the_session
                the_token_before_is_dead_once_its_successor_was_used
                an_older_token_ends_the_session_however_old
                a_token_that_is_none_of_the_two_ends_the_session_before_any_rotation_too
                a_token_of_another_client_changes_nothing_and_the_owners_still_works
                an_ended_session_is_refreshed_no_more
                a_session_that_time_has_ended_is_refreshed_no_more_and_nothing_changes
                a_refresh_moves_the_idle_limit_and_never_the_absolute_one
                a_remembered_session_in_tokens_has_the_limits_of_a_remembered_one
                a_clock_that_went_back_sets_nothing_back_and_ends_nothing
                a_grant_never_changes
                a_session_that_is_carried_otherwise_cannot_be_refreshed
                a_refresh_token_is_no_session_token
                whatever_ends_the_sessions_of_a_user_ends_those_in_tokens_too
                who_proves_again_who_they_are_gets_a_refresh_token_and_all_before_are_dead
                a_refresh_token_of_a_new_proof_is_rotated_like_every_other
                nothing_is_opened_for_a_client_that_was_removed
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
                an_end_says_for_whom_it_has_waited_and_is_true_here_in_any_case
                an_end_names_those_whose_leases_had_to_run_out
                what_was_found_is_as_of_the_last_entry
                ending_one_access_token_ends_it_alone
                ending_a_client_ends_its_sessions_and_access_tokens_and_no_others
                ending_a_client_ends_what_others_were_issued_in_its_sessions
                ending_everyone_ends_the_access_tokens_of_clients_themselves_too
                ending_an_access_token_or_a_client_is_logged_even_if_nothing_of_it_is_kept
            ;
            rotation:
                a_session_token_is_replaced_once_it_was_in_use_for_so_long
                a_session_token_without_a_successor_or_with_the_rule_off_is_never_replaced
                checkers_hear_of_a_rotation_and_of_the_first_use_of_a_successor_and_of_no_other
                a_lost_reply_is_forgiven_however_late_with_the_same_successor
                the_token_before_is_good_for_the_grace_once_its_successor_was_used
                a_session_token_that_comes_after_the_grace_ends_the_session_for_all
                no_token_is_replaced_while_the_one_before_has_its_grace
                a_long_line_of_tokens_carries_one_session
                an_ended_session_is_not_rotated
                only_what_a_cookie_carries_is_rotated
                a_visitors_session_is_rotated_too
                who_was_let_in_with_the_token_before_can_go_on
                a_clock_that_went_back_replaces_nothing_and_ends_nothing
                what_ends_the_others_spares_the_session_under_both_its_tokens
            ;
            session_data:
                a_value_stands_under_its_key_until_it_is_replaced_or_removed
                whatever_ends_a_session_ends_its_data_for_who_has_read_it
                a_session_that_ended_takes_no_data
                an_increment_answers_the_sum
                a_change_replaces_only_what_is_still_held
                what_is_read_to_be_changed_may_be_old_and_who_changes_it_is_told
                all_data_is_read_in_order_and_cleared_at_once
                of_many_who_change_one_value_at_once_none_is_lost
                of_many_who_remove_one_value_at_once_one_gets_it
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
                all_data_of_a_visitor_survives_a_sign_in_that_says_so_and_another_users_does_not
                a_user_whom_the_application_keeps_has_sessions_like_everyone
                own_data_survives_a_new_sign_in_and_another_users_does_not
                a_session_that_ended_before_it_was_replaced_gives_nothing_and_ends_no_second_time
                at_the_limit_a_sign_in_is_refused_and_changes_nothing
                at_the_limit_the_sessions_that_were_opened_first_end
                sessions_that_time_has_ended_do_not_count_for_the_limit
                the_replaced_session_does_not_count_for_the_limit
                a_touch_moves_the_time_forward_only
                a_touch_revives_nothing
                a_renewed_session_is_the_same_with_a_new_token
                a_session_whose_token_is_exchanged_is_the_same_in_all_else
                a_session_is_renewed_by_its_present_token_only
                a_session_is_over_when_it_was_told_to_be_and_checkers_hear_of_it
                the_sessions_of_a_user_are_listed_the_last_used_first
                all_sessions_are_listed_page_by_page_anonymous_ones_too
                the_sweep_removes_what_time_has_ended_and_nothing_else
                a_session_of_a_deleted_user_is_not_found_under_any_name
            ;
            signing_keys:
                a_keyring_begins_once
                each_algorithm_has_a_keyring_of_its_own
                a_turn_retires_the_active_key_and_the_next_one_signs
                who_does_not_know_the_active_key_turns_nothing
                without_a_key_to_follow_it_the_active_one_stays
                there_is_one_active_key_of_an_algorithm_and_one_that_is_next
                a_reset_throws_all_keys_away_and_ends_everything_of_everyone
                keys_are_dropped_a_while_after_they_retired_and_not_before
            ;
            token_races:
                of_many_uses_of_one_refresh_token_all_get_the_same_successor
                of_many_uses_of_one_session_token_all_get_the_same_successor_and_all_go_on
                a_rotation_never_revives_a_session_that_is_ended
                of_a_rotation_and_a_new_proof_at_once_the_new_proof_stands_alone
                of_many_session_replays_at_once_one_ends_the_session
                a_refresh_never_revives_a_session_that_is_ended
                a_refresh_and_a_replay_at_once_end_the_session
                of_many_replays_at_once_one_ends_the_session
                a_reference_token_that_is_kept_while_its_session_ends_ends_with_it
                nothing_issued_while_its_client_is_removed_outlives_it
                of_many_who_spend_one_identifier_one_may
                of_many_who_begin_a_keyring_one_does
                of_many_turns_of_a_keyring_at_once_one_counts
            ;
            tokens:
                a_reference_token_stands_for_what_it_was_kept_with
                a_reference_token_ends_with_its_session
                a_reference_token_survives_a_rotation_and_a_new_proof
                a_reference_token_of_what_has_ended_meanwhile_is_not_kept
                the_sweep_of_tokens_removes_what_is_over_and_nothing_else
                an_identifier_is_spent_once_by_each_client
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
            include_str!("clients.rs"),
            include_str!("doors.rs"),
            include_str!("races.rs"),
            include_str!("refresh.rs"),
            include_str!("revocation.rs"),
            include_str!("rotation.rs"),
            include_str!("session_data.rs"),
            include_str!("sessions.rs"),
            include_str!("signing_keys.rs"),
            include_str!("token_races.rs"),
            include_str!("tokens.rs"),
        ] {
            for rule in source.split("\npub async fn ").skip(1) {
                let (name, _) = rule.split_once('(').unwrap();
                assert!(list.contains(&format!(" {name}\n")), "{name} is not listed");
            }
        }
    }
}
