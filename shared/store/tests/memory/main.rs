//! Coherent memory on both engines. PostgreSQL is the server of `CLIENTELE_TEST_POSTGRES`, an administrator's URL.

#[cfg(test)]
mod following;
#[cfg(test)]
mod lookups;
#[cfg(test)]
mod place;
#[cfg(test)]
mod race;
#[cfg(test)]
mod replicas;

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
    lookups::what_is_remembered_is_not_read_again,
    lookups::what_was_written_is_seen_by_the_next_read,
    lookups::what_is_not_there_is_not_remembered,
    lookups::who_has_seen_more_than_is_proven_is_answered_from_the_database,
    lookups::at_most_its_capacity_is_remembered,
    lookups::at_most_its_bytes_are_remembered,
    lookups::of_several_those_are_loaded_that_are_not_remembered,
    race::what_changes_during_a_read_is_not_remembered_as_it_was,
    race::readers_never_get_less_than_had_been_told_when_they_began,
    replicas::what_another_process_writes_is_seen,
    replicas::what_readers_may_see_is_seen,
    following::what_is_followed_is_seen_by_who_waited_for_it,
    following::what_is_swept_out_is_seen_to_be_gone,
}

on! { Postgres in only_on_postgres:
    lookups::after_a_write_whose_outcome_is_unknown_everything_is_read_again,
    replicas::who_knows_a_write_gets_nothing_older,
    replicas::memory_stands_aside_while_nobody_wakes_it,
    replicas::memory_stands_aside_while_the_database_is_out_of_reach,
    following::what_another_replica_has_heard_is_seen_by_who_waited_for_it,
    following::what_another_replica_has_heard_is_seen_without_a_stream,
    following::of_two_replicas_both_see_what_they_are_told,
    following::what_another_replica_has_heard_before_a_new_stream_is_seen,
}
