//! Timed work on both engines. PostgreSQL is the server of `CLIENTELE_TEST_POSTGRES`, an administrator's URL.

#[cfg(test)]
mod place;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod runner;

macro_rules! on {
    ($engine:ident in $module:ident: $($file:ident::$test:ident,)*) => {
        #[cfg(test)]
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let place = super::place::Place::create(clientele_testkit::Engine::$engine).await;
                super::$file::$test(&place).await;
            })*
        }
    };
}

macro_rules! on_both_engines {
    ($($file:ident::$test:ident,)*) => {
        on! { Sqlite in on_sqlite: $($file::$test,)* }
        on! { Postgres in on_postgres: $($file::$test,)* }
    };
}

on_both_engines! {
    runner::several_replicas_run_a_job_once_per_interval,
    runner::a_lease_is_taken_over_after_its_holder_is_gone,
    runner::a_lease_is_renewed_while_its_job_runs,
    runner::a_replica_that_lost_the_lease_stops_its_run,
    runner::a_replica_that_can_not_renew_the_lease_stops_its_run,
    runner::jobs_that_panic_or_fail_are_tried_again_and_stop_no_others,
    runner::a_job_that_failed_waits_before_it_is_tried_again,
    retention::old_rows_go_and_old_cursors_are_told_so,
    retention::a_feed_that_is_overtaken_before_it_finds_anything_is_told_so,
    retention::the_newest_row_stays_so_that_nothing_counts_from_the_beginning,
    retention::a_cursor_from_a_replica_that_has_seen_more_is_good,
    retention::many_rows_go_in_several_transactions,
    retention::nothing_goes_unless_the_floor_is_raised,
    retention::nothing_goes_from_behind_a_row_that_is_younger,
    retention::the_floor_only_rises,
    retention::rows_of_an_earlier_life_go_without_raising_the_floor,
}

on! { Postgres in only_on_postgres:
    retention::the_floor_does_not_fall_below_what_another_raised_it_to,
    retention::nothing_goes_from_above_the_horizon,
    retention::a_restored_database_has_no_floor,
}
