//! Units of work on both engines. PostgreSQL is the server of `CLIENTELE_TEST_POSTGRES`, an administrator's URL.

#[cfg(test)]
mod place;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod sqlite;
#[cfg(test)]
mod together;
#[cfg(test)]
mod units;

macro_rules! on_both_engines {
    ($($file:ident::$test:ident,)*) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let mut place = super::place::Place::sqlite().await;
                super::$file::$test(&mut place).await;
                place.end().await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let mut place = super::place::Place::postgres().await;
                super::$file::$test(&mut place).await;
                place.end().await;
            })*
        }
    };
}

on_both_engines! {
    units::collected_writes_are_committed,
    units::immediate_writes_are_part_of_the_unit,
    units::several_journal_rows_keep_their_order,
    units::writes_without_a_journal_row,
    units::an_error_rolls_back,
    units::a_panic_rolls_back,
    units::a_unit_that_takes_too_long_rolls_back,
    units::what_takes_several_statements_happens_whole_or_not_at_all,
    units::a_failed_statement_fails_its_unit,
    together::sixty_at_once,
    together::one_that_is_refused_leaves_its_neighbours,
    together::callers_who_leave_lose_nothing,
    together::a_failed_guard_runs_the_unit_again,
    together::a_guard_that_never_holds_is_contention,
    together::of_two_writers_with_one_version_one_wins,
    units::validate_leaves_nothing,
    units::unique_violations,
    units::misuse_is_internal,
    units::the_pool_for_reads_refuses_to_write,
    units::a_closed_database_takes_no_units,
}
