//! The list of faults (`reliability.md` section 3), row by row, with the tests that produce each one and hold us to what must happen then.
//! A test that is renamed or removed is missed here; a new test of a fault, and any in a file `s3_*.rs`, has to say which row it is about,
//! or why it is about none.
//! Where DESIGN differs from that list (exit codes, no multipart uploads, no DeleteObjects, no leases) DESIGN counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A row: the fault as the list calls it, the tests (`module::test` of this binary, `path/in/engine/src.rs::test` of the engine's own),
/// and what of the row waits for which later issue, or is not wanted.
struct Row {
    fault: &'static str,
    tests: &'static [&'static str],
    open: &'static str,
}

const ROWS: [Row; 33] = [
    Row {
        fault: "Rules for all: idempotent writes, nothing acknowledged before it is read back, one budget, jitter, exit codes",
        tests: &[
            "store/s3/patience.rs::where_nothing_moves_after_the_budget_went_nobody_tries_again",
            "s3_client::many_names_share_the_patience_of_one",
            "s3_network::faults_that_pass_cost_time_and_nothing_else",
            "s3_network::faults_that_last_cost_no_more_than_the_run",
            "s3_faults::waiting_ends_when_it_is_asked_to",
            "s3_faults::a_missing_object_is_missing",
            "s3_cli::each_fault_has_its_exit_code",
            "faults::every_operation_of_init_may_fail",
            "faults::every_operation_of_a_first_backup_may_fail",
            "faults::every_operation_of_a_second_backup_may_fail",
            "faults::every_operation_of_a_restore_may_fail",
            "faults::every_operation_of_a_rebuild_may_fail",
            "store/s3/patience.rs::waits_stay_between_their_bounds_and_obey_the_store",
            "store/s3/patience.rs::a_budget_ends",
        ],
        open: "",
    },
    Row {
        fault: "503 SlowDown / 429",
        tests: &[
            "s3_faults::t16_throttling_is_waited_out",
            "s3_answers::retry_after_is_obeyed",
            "store/s3/patience.rs::connections_halve_once_per_message_and_grow_by_one_per_round",
            "s3_gate::after_slow_down_half_as_many_are_under_way",
        ],
        open: "",
    },
    Row {
        fault: "500/502/504, connect refused, DNS, TLS handshake",
        tests: &[
            "s3_faults::one_object_that_is_not_served_ends_no_check",
            "s3_faults::errors_that_pass_are_waited_out",
            "s3_faults::a_store_that_stays_away_is_unreachable",
            "s3_network::what_was_stored_before_the_store_went_away_is_used",
            "s3_network::a_host_that_does_not_resolve_is_unreachable",
            "s3_network::a_host_that_is_back_in_time_ends_no_run",
            "s3_network::no_request_goes_to_whom_the_certificate_does_not_prove",
            "s3_network::where_no_tls_is_spoken_the_store_is_unreachable",
            "s3_cli::a_place_that_cannot_be_reached_has_its_exit_code",
            "faults::every_operation_of_a_second_backup_may_fail",
            "s3_client::one_more_try_is_always_left",
            "s3_client::certificates_are_read_before_they_are_needed",
            "s3_lies::a_store_that_is_away_is_no_unreadable_manifest",
        ],
        open: "",
    },
    Row {
        fault: "Reset or timeout before PUT response (ambiguous)",
        tests: &[
            "s3_archive::a_pack_that_reached_the_archive_is_not_read_back",
            "s3_faults::ambiguous_puts_are_put_again",
            "s3_network::runs_survive_connections_that_are_cut_stalled_and_slow",
        ],
        open: "",
    },
    Row {
        fault: "Stall mid-body (either way), 1 B/s drip",
        tests: &[
            "s3_network::a_connection_that_fell_silent_is_not_asked_again",
            "s3_faults::stalls_and_drips_are_cut",
            "s3_network::runs_survive_connections_that_are_cut_stalled_and_slow",
            "s3_network::an_upload_that_nobody_reads_is_cut",
            "s3_network::a_slow_download_is_no_stall",
            "s3_network::a_slow_upload_is_no_stall",
            "s3_client::a_slow_upload_is_tried_again",
            "s3_client::a_listing_that_comes_slowly_comes",
        ],
        open: "",
    },
    Row {
        fault: "GET truncated, with or without Content-Length",
        tests: &[
            "s3_faults::one_object_that_is_not_served_ends_no_check",
            "s3_faults::cut_answers_are_resumed",
            "s3_network::a_beginning_is_not_handed_out",
            "s3_network::runs_survive_connections_that_are_cut_stalled_and_slow",
            "s3_client::what_came_whole_is_not_asked_for_again",
        ],
        open: "",
    },
    Row {
        fault: "GET ignores Range, wrong Content-Range, other object's bytes, stale version",
        tests: &[
            "s3_second_looks::a_check_reads_twice_before_it_calls_anything_damaged",
            "s3_second_looks::slots_and_keyrings_that_do_not_open_are_fetched_once_more",
            "s3_second_looks::a_rebuild_drops_no_pack_for_one_bad_answer",
            "s3_faults::answers_to_other_questions_are_asked_again",
            "s3_faults::bytes_that_do_not_authenticate_are_fetched_once_more",
            "s3_answers::a_stale_answer_is_asked_again",
            "store/s3/read.rs::content_ranges_are_read_strictly",
        ],
        open: "",
    },
    Row {
        fault: "Bit flips",
        tests: &[
            "s3_second_looks::a_check_reads_twice_before_it_calls_anything_damaged",
            "s3_second_looks::slots_and_keyrings_that_do_not_open_are_fetched_once_more",
            "s3_second_looks::a_rebuild_drops_no_pack_for_one_bad_answer",
            "s3_faults::bytes_that_do_not_authenticate_are_fetched_once_more",
            "s3_faults::lasting_damage_is_named",
            "damage::every_flipped_byte_is_seen_or_harmless",
            "damage::a_damage_names_the_snapshots_and_paths_that_it_hurts",
            "restore::what_damage_cost_is_named_once",
            "cli::damage_is_23",
        ],
        open: "",
    },
    Row { fault: "ETag absent/opaque/not MD5", tests: &["s3_faults::an_etag_is_no_checksum"], open: "" },
    Row {
        fault: "400 BadDigest / checksum mismatch",
        tests: &[
            "s3_second_looks::a_pack_that_no_run_vouches_for_is_read_before_it_is_built_upon",
            "s3_faults::a_refused_digest_is_tried_again_and_then_said",
            "s3_answers::a_refused_digest_leaves_nothing_that_is_believed",
            "s3_answers::what_was_stored_damaged_and_refused_is_not_built_upon",
        ],
        open: "",
    },
    Row {
        fault: "501/400 on x-amz-checksum-* or trailers",
        tests: &[
            "s3::s3_that_refuses_what_it_does_not_know_keeps_the_rest_of_the_contract",
            "s3::s3_without_conditional_puts_keeps_the_rest_of_the_contract",
            "s3::a_probe_tells_what_a_store_does",
        ],
        open: "",
    },
    Row {
        fault: "ExpiredToken / InvalidToken",
        tests: &[
            "s3_faults::credentials_are_loaded_anew",
            "s3_answers::t16_a_token_that_expires_under_many_requests_ends_none_of_them",
            "s3_answers::an_answer_without_a_body_is_asked_what_it_means",
            "s3_cli::keys_that_expire_while_a_run_goes_on_are_read_anew",
            "s3_cli::keys_of_a_process_are_asked_for_again",
            "s3_client::a_head_that_is_refused_in_silence_renews_the_credentials",
            "s3_client::broken_sources_of_credentials_are_said",
            "s3_credentials::keys_of_a_machine_are_asked_for_again_before_they_end",
            "s3_credentials::keys_of_a_machine_that_end_midway_are_asked_for_again",
        ],
        open: "",
    },
    Row {
        fault: "403 RequestTimeTooSkewed",
        tests: &[
            "s3_answers::a_store_without_a_clock_is_said_to_have_none",
            "s3_faults::the_store_s_clock_counts",
            "s3_answers::t16_clocks_that_differ_by_minutes_are_said",
            "s3_answers::an_answer_without_a_body_is_asked_what_it_means",
        ],
        open: "",
    },
    Row {
        fault: "403 AccessDenied at start / midway / on DELETE",
        tests: &[
            "s3_second_looks::what_may_not_be_read_is_not_taken_for_damaged",
            "s3_doctor::wrong_and_missing_keys_have_a_next_step",
            "s3_faults::t16_what_is_denied_ends_the_run_and_a_backup_needs_no_delete",
            "s3_cli::each_fault_has_its_exit_code",
            "s3_client::wrong_keys_are_called_wrong",
            "s3_client::what_is_denied_and_not_listed_is_missing",
            "s3_collection::t16_what_may_not_be_deleted_stays_and_the_rest_goes",
        ],
        open: "",
    },
    Row {
        fault: "404 after 200 PUT",
        tests: &[
            "s3_faults::a_put_that_stored_nothing_is_noticed_before_the_commit",
            "s3_answers::no_lost_put_is_acknowledged",
            "s3_lies::lost_segments_slots_and_keyrings_are_noticed",
            "s3_lies::a_rebuild_deletes_no_segment_before_it_has_seen_its_own",
            "s3_lies::a_merge_deletes_no_segment_before_it_has_seen_its_own",
        ],
        open: "lost packs are not uploaded again by the run that lost them: it fails, and the next one stores them",
    },
    Row {
        fault: "404 on referenced pack in read",
        tests: &[
            "s3_answers::a_proxy_that_finds_nobody_behind_it_says_nothing_of_objects",
            "s3_faults::a_pack_that_is_missing_is_asked_for_several_times_and_then_stored_again",
            "damage::the_next_backup_heals_lost_and_cut_packs",
        ],
        open: "",
    },
    Row {
        fault: "LIST: truncated without token; repeated token; keys not increasing; KeyCount mismatch; unknown keys; bad url-encoding",
        tests: &[
            "s3_doctor::init_refuses_a_store_that_lists_badly",
            "s3::a_probe_tells_how_a_store_lists",
            "s3_faults::a_listing_is_complete_or_an_error",
            "s3_faults::strangers_and_empty_pages_in_a_listing_are_passed_over",
            "s3_faults::a_backup_goes_on_without_a_listing_of_packs",
            "s3_listings::listings_end_where_they_end",
            "damage::foreign_files_are_passed_over",
            "store/s3/list.rs::encoded_keys",
            "s3_collection::no_collection_decides_by_half_of_a_listing",
        ],
        open: "",
    },
    Row {
        fault: "LIST short with IsTruncated=false",
        tests: &[
            "s3_second_looks::a_listing_is_not_short_because_it_is_older_than_the_catalog",
            "s3_doctor::init_refuses_a_store_that_lists_badly",
            "s3::a_probe_tells_how_a_store_lists",
            "s3_faults::a_silently_short_listing_makes_nothing_disappear",
            "s3_listings::what_a_short_listing_leaves_out_is_there_again",
            "s3_listings::check_misses_what_a_listing_leaves_out",
            "s3_listings::a_run_under_a_short_listing_vouches_for_what_it_remembers",
            "s3_lies::what_a_listing_leaves_out_is_asked_for_by_name",
            "s3_lies::a_rebuild_under_a_short_listing_loses_no_pack",
            "damage::a_lost_snapshot_is_missed_by_its_successor_and_by_who_saw_it",
            "s3_collection::a_silently_short_listing_costs_nothing",
            "s3_lies::what_a_listing_leaves_out_is_no_loss_to_be_accepted",
        ],
        open: "that two equal listings a minute apart overrule it is not wanted: `forget --lost` asks for each object by name",
    },
    Row {
        fault: "Delete while listing",
        tests: &[
            "s3_second_looks::a_keyring_or_slot_that_is_listed_and_gone_stops_nobody",
            "s3_listings::an_object_deleted_while_it_marks_the_page_costs_a_new_listing",
            "damage::rebuild_leaves_alone_what_a_running_backup_puts_meanwhile",
            "s3_lies::a_manifest_that_is_listed_and_not_there_is_said",
            "s3_lies::a_segment_that_is_listed_and_not_there_ends_nothing",
            "s3_collection::listings_of_many_pages_are_read_to_their_end_before_anything_goes",
            "s3_lies::a_segment_that_was_merged_is_not_lost",
        ],
        open: "",
    },
    Row {
        fault: "Conditional PUT 412 / 409 / 304 / 501 / 200 but ignored",
        tests: &[
            "s3_faults::no_conditional_put_is_needed",
            "s3::a_second_init_is_refused",
            "s3::a_probe_tells_what_a_store_does",
            "s3_lies::of_two_inits_at_once_the_second_waits_for_the_first",
            "s3_lies::a_slot_that_was_left_behind_only_costs_time",
            "s3_lies::nothing_is_acknowledged_in_a_repository_that_was_replaced",
        ],
        open: "",
    },
    Row {
        fault: "Multipart 200 + <Error>, empty 200, NoSuchUpload on re-complete, leftovers",
        tests: &[
            "s3_answers::only_five_operations_are_asked_for",
            "s3_faults::any_200_is_not_an_acknowledgement",
            "s3_answers::a_page_of_something_else_is_no_answer",
        ],
        open: "there are no multipart uploads (DESIGN section 7)",
    },
    Row {
        fault: "InvalidObjectState (Glacier, Deep Archive)",
        tests: &[
            "s3_doctor::a_restore_from_an_archive_waits_and_restores",
            "s3_archive::a_rebuild_takes_over_what_is_known_of_archived_packs",
            "s3_archive::of_two_copies_the_one_that_is_there_is_ordered",
            "s3_archive::a_pack_that_reached_the_archive_is_not_read_back",
            "s3_answers::a_storage_class_that_is_not_known_is_said_at_once",
            "s3_faults::an_archived_object_is_said_to_be_archived",
            "s3_answers::archived_data_hinders_no_backup",
            "s3::only_data_packs_get_a_storage_class",
            "s3_cli::each_fault_has_its_exit_code",
            "s3_archive::a_restore_plans_orders_waits_and_goes_on_after_it_was_stopped",
            "s3_archive::a_part_needs_its_own_packs_only",
            "s3_archive::backups_and_checks_do_without_what_is_archived",
            "s3_archive::an_archived_pack_without_a_segment_stops_nobody",
            "s3_client::no_room_for_an_expedited_thaw_is_said_at_once",
            "s3_collection::cold_packs_are_written_anew_only_where_that_is_asked_for",
        ],
        open: "",
    },
    Row {
        fault: "Object Lock / versioned bucket",
        tests: &[
            "s3_faults::a_locked_bucket_takes_backups",
            "s3_answers::t16_a_versioned_bucket_is_as_good_as_another",
            "s3_collection::a_locked_bucket_keeps_everything_and_does_not_grow",
        ],
        open: "bytes of noncurrent versions, and reading old ones, belong to object lock (DESIGN section 10)",
    },
    Row {
        fault: "DeleteObjects 200 with per-key errors, 501, MissingContentMD5",
        tests: &["s3_answers::only_five_operations_are_asked_for"],
        open: "objects are deleted one by one",
    },
    Row {
        fault: "301/307 wrong region, cross-host redirect, captive-portal HTML 200",
        tests: &[
            "s3_answers::a_proxy_that_finds_nobody_behind_it_says_nothing_of_objects",
            "s3_faults::the_right_region_is_found_and_no_redirect_followed",
            "s3_answers::no_redirect_of_any_kind_is_followed",
            "s3_answers::a_page_of_something_else_is_no_answer",
            "s3_answers::behind_a_portal_nothing_is_a_repository_and_nothing_is_damage",
            "s3_cli::no_key_is_ever_printed",
            "s3_client::aws_is_asked_without_a_region",
        ],
        open: "",
    },
    Row {
        fault: "QuotaExceeded / 507",
        tests: &["s3_faults::a_full_store_ends_the_run_at_once", "s3_cli::each_fault_has_its_exit_code"],
        open: "",
    },
    Row {
        fault: "ENOSPC/EDQUOT at any local write",
        tests: &[
            "faults::a_disk_may_fill_up_at_any_byte",
            "store_contract::a_full_disk_fails_the_put_and_nothing_else",
            "store_contract::a_disk_without_inodes_fails_the_put_too",
            "disk_faults::a_write_that_fails_ends_the_run_and_nothing_else",
            "s3_cli::a_cache_that_has_become_full_costs_no_command",
            "s3_cli::a_full_cache_costs_no_command",
            "faults::a_collection_gives_space_back_on_a_full_disk",
        ],
        open: "with not one block free a collection cannot say what it condemns, and ends with 1: it needs some KiB",
    },
    Row {
        fault: "EIO read / write / fsync",
        tests: &[
            "disk_faults::a_pack_that_cannot_be_read_is_named_and_the_rest_is_restored",
            "disk_faults::a_write_that_fails_ends_the_run_and_nothing_else",
            "store/local/upload.rs::an_upload_that_failed_once_is_never_given_a_name",
            "store/local/upload.rs::after_a_failed_fsync_of_a_folder_nothing_is_acknowledged",
        ],
        open: "",
    },
    Row {
        fault: "EROFS, no write permission",
        tests: &[
            "faults::a_read_only_repository_is_read_and_not_written",
            "store_contract::a_read_only_disk_is_read_and_not_written",
            "s3_cli::a_read_only_cache_costs_no_command",
            "cli::a_cache_that_cannot_be_used_costs_a_warning",
        ],
        open: "a backup fails when it begins its first pack, some of the scan is done then",
    },
    Row {
        fault: "Permission change, unmount, ESTALE/ENOTCONN midway",
        tests: &[
            "disk_faults::an_empty_mount_point_is_no_repository",
            "disk_faults::a_write_that_fails_ends_the_run_and_nothing_else",
            "faults::every_operation_of_a_second_backup_may_fail",
            "store_contract::open_creates_nothing",
            "store_contract::a_directory_that_is_gone_is_not_an_empty_one",
            "cli::nothing_but_init_makes_a_repository",
            "cli::a_lost_descriptor_is_damage_and_no_place_for_a_new_repository",
        ],
        open: "",
    },
    Row {
        fault: "Rename not atomic, case-folding, 2 s mtimes, no hardlinks (SMB, exFAT, FUSE)",
        tests: &[
            "store/local/upload.rs::every_way_to_give_a_name_keeps_what_is_there",
            "id.rs::hex_is_read_back_and_only_in_lower_case",
            "id.rs::a_number_in_a_name_has_one_spelling",
            "store_contract::debris_of_the_dead_goes_and_the_living_stay",
        ],
        open: "nothing is probed: each put finds out by itself how a file gets its name",
    },
    Row {
        fault: "Power loss: empty or short files, lost directory entries",
        tests: &[
            "store_contract::what_a_power_loss_cut_short_is_replaced_and_read_anew",
            "store_contract::an_object_cut_while_it_is_open_is_short",
            "store_contract::local_keeps_the_contract",
            "damage::every_cut_lengthened_zeroed_lost_or_swapped_object_is_seen_or_harmless",
            "cli::what_killed_runs_leave_is_removed_by_the_next",
        ],
        open: "",
    },
    Row {
        fault: "Source: file changes, vanishes, grows, EACCES, EIO, xattr ENODATA",
        tests: &[
            "sources::what_cannot_be_read_costs_itself_and_no_sibling",
            "sources::files_that_vanish_or_change_while_others_are_read_are_said",
            "sources::a_file_that_grows_while_it_is_read_is_stored_as_it_was_at_some_length_and_said",
            "sources::directories_removed_while_they_are_walked_leave_their_siblings",
            "sources::a_root_that_is_not_there_is_said_and_the_others_are_stored",
            "source/walk_tests.rs::what_cannot_be_read_never_takes_its_siblings",
            "source/walk_tests.rs::names_that_vanish_are_reported",
            "cli::exit_codes_are_those_of_the_table",
        ],
        open: "",
    },
];

/// Modules whose tests each stand in the table, or in [`NO_FAULT`]: this one, and all whose names begin with `s3_`.
const MODULE: &str = "disk_faults";
/// But these: they test the server that the tests bring along.
const OF_THE_SERVER: [&str; 2] = ["s3_server", "s3_server_faults"];

/// And these: they are about buckets that are backed up, or restored into, and not about the store of a repository.
const OF_BUCKETS: [&str; 3] = ["s3_source", "s3_source_cli", "s3_into"];

/// Tests of those modules that are about none of the faults, and why.
const NO_FAULT: [(&str, &str); 17] = [
    ("s3_client::no_answer_is_longer_than_any_has_reason_to_be", "a malicious network (`reliability.md` section 4)"),
    ("s3_client::an_endpoint_of_a_profile_is_held_to_what_holds_for_all", "configuration"),
    ("s3_client::a_configured_endpoint_is_an_endpoint", "configuration"),
    ("s3_client::a_profile_that_is_not_there_is_named", "configuration"),
    ("s3_client::the_certificates_of_aws_tools_are_taken", "configuration"),
    ("s3_lies::a_restore_reads_each_pack_once", "what a restore fetches when nothing goes wrong"),
    ("s3_client::a_store_on_this_machine_is_asked_by_no_proxy", "configuration"),
    ("s3_doctor::a_place_with_an_odd_scheme_is_refused_without_being_repeated", "configuration"),
    ("s3_doctor::a_secret_that_cannot_be_had_has_a_next_step", "configuration"),
    ("s3_doctor::a_storage_class_is_tried_before_it_is_relied_on", "configuration"),
    ("s3_doctor::options_reach_the_store", "configuration"),
    ("s3_doctor::init_makes_the_bucket_where_it_may", "configuration"),
    ("s3_doctor::t16_doctor_finds_what_a_bucket_would_do_to_a_repository", "what a bucket is configured to do"),
    ("s3_doctor::doctor_says_whether_a_repository_is_there", "what `doctor` says"),
    ("s3_doctor::every_command_says_what_went_over_the_wire", "what commands say"),
    ("s3_gate::a_restore_asks_for_the_next_pack_before_it_has_the_first", "what a far way costs, not a fault"),
    ("s3_gate::no_more_connections_are_used_than_the_user_allows", "a limit of the user's, not of the store's"),
];

/// The names of the tests in a file.
fn tests_in(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line != "#[test]" {
            continue;
        }
        // Other attributes may stand between.
        let name = lines.by_ref().find_map(|line| line.strip_prefix("fn ").and_then(|rest| rest.split_once('(')));
        found.extend(name.map(|(name, _)| name));
    }
    found
}

/// The text of each file that a row may name, by what comes before `::`.
fn files() -> BTreeMap<String, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (tests, engine) = (here.join("tests"), here.join("../engine/src"));
    let (mut found, mut todo): (_, Vec<PathBuf>) = (BTreeMap::new(), vec![tests.clone(), engine.clone()]);
    while let Some(folder) = todo.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = match path.strip_prefix(&tests) {
                    Ok(own) => own.with_extension("").to_str().unwrap().to_owned(),
                    Err(_) => path.strip_prefix(&engine).unwrap().to_str().unwrap().to_owned(),
                };
                found.insert(name, fs::read_to_string(path).unwrap());
            }
        }
    }
    found
}

/// The tests of the table that are in none of these files.
fn unknown<'a>(rows: &'a [Row], files: &BTreeMap<String, String>) -> Vec<&'a str> {
    let exists = |name: &str| {
        let (file, test) = name.split_once("::").unwrap_or(("", name));
        files.get(file).is_some_and(|text| tests_in(text).contains(test))
    };
    rows.iter().flat_map(|row| row.tests).copied().filter(|name| !exists(name)).collect()
}

#[test]
fn every_row_of_the_fault_list_has_tests_that_exist() {
    let files = files();
    assert_eq!(unknown(&ROWS, &files), [""; 0], "named in the table, and nowhere else");
    let faults: BTreeSet<&str> = ROWS.iter().map(|row| row.fault).collect();
    assert_eq!(faults.len(), ROWS.len(), "a row stands twice");
    for row in &ROWS {
        assert!(!row.tests.is_empty(), "{}: no test; if it waits for a later issue ({}), leave the row out", row.fault, row.open);
        let distinct: BTreeSet<&str> = row.tests.iter().copied().collect();
        assert_eq!(distinct.len(), row.tests.len(), "{}", row.fault);
    }
}

#[test]
fn every_test_of_a_fault_says_which_row_it_is_about() {
    let files = files();
    assert_eq!(
        in_no_row(&ROWS, &files),
        NO_FAULT.map(|(test, _)| test.to_owned()).into(),
        "those in no row of the table, and those in `NO_FAULT`"
    );
}

/// The tests of all modules of faults that no row names.
fn in_no_row(rows: &[Row], files: &BTreeMap<String, String>) -> BTreeSet<String> {
    let named: BTreeSet<&str> = rows.iter().flat_map(|row| row.tests).copied().collect();
    let of_faults =
        |module: &str| module == MODULE || (module.starts_with("s3_") && !OF_THE_SERVER.contains(&module) && !OF_BUCKETS.contains(&module));
    let modules = files.iter().filter(|(module, _)| of_faults(module));
    let all = modules.flat_map(|(module, text)| tests_in(text).into_iter().map(move |test| format!("{module}::{test}")));
    all.filter(|test| !named.contains(test.as_str())).collect()
}

#[test]
fn the_table_s_test_sees_what_is_missing() {
    let text = "#[test]\nfn one() {}\n\n#[test]\n#[should_panic]\nfn two() {\n}\nfn three() {}\n// #[test]\n// fn four() {}\n";
    assert_eq!(tests_in(text), BTreeSet::from(["one", "two"]));
    let files = BTreeMap::from([("a".to_owned(), text.to_owned())]);
    let rows = [Row { fault: "x", tests: &["a::one", "a::three", "b::one", "two", "a::two"], open: "" }];
    assert_eq!(unknown(&rows, &files), ["a::three", "b::one", "two"]);
    let text = |name: &str| (name.to_owned(), text.to_owned());
    let files = BTreeMap::from(["s3_new", "s3_server", "disk_faults", "cli"].map(text));
    let rows = [Row { fault: "x", tests: &["s3_new::two", "disk_faults::one", "disk_faults::two"], open: "" }];
    assert_eq!(in_no_row(&rows, &files), ["s3_new::one".to_owned()].into());
}
