//! What the databases read for a statement: by indexes, and no more of what others have.

use clientele_api::Uid;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use serde_json::Value;
use uuid::Uuid;

/// A statement, the indexes that it may use besides those of primary keys, and how many rows it may read.
#[derive(Debug)]
pub struct Plan {
    /// What it is for.
    pub what: String,
    /// The statement.
    pub statement: Statement,
    /// The names of the indexes.
    pub indexes: &'static [&'static str],
    /// The most rows that PostgreSQL may read, where it knows the tables.
    pub rows: usize,
}

/// The uid of the how-manieth of a kind.
pub fn numbered_uid(kind: u128, number: u128) -> Uid {
    Uid(Uuid::from_u128(kind << 124 | number))
}

/// The same of an expression.
pub fn numbered_uid_of(backend: DbBackend, kind: u128, number: &str) -> String {
    match backend {
        DbBackend::Postgres => format!("CAST('{kind}' || lpad(to_hex({number}), 31, '0') AS uuid)"),
        _ => format!("unhex('{kind}' || printf('%031x', {number}))"),
    }
}

/// PostgreSQL reads by these indexes and no more rows than that. Of these tables it knows nothing at first: then it reads by indexes too, if
/// not by the best.
pub async fn check_plans_on_postgres(connection: &DatabaseConnection, tables: &[&str], plans: impl Fn() -> Vec<Plan>) {
    let tables: Vec<String> = tables.iter().map(|table| format!("'{table}'::regclass")).collect();
    let unknown = format!("DELETE FROM pg_statistic WHERE starelid IN ({})", tables.join(", "));
    for (statistics, known) in [(unknown.as_str(), false), ("ANALYZE", true)] {
        connection.execute_unprepared(statistics).await.unwrap();
        for mode in ["custom", "generic"] {
            let set = format!("SET plan_cache_mode = force_{mode}_plan");
            connection.execute_unprepared(&set).await.unwrap();
            for plan in plans() {
                check_on_postgres(connection, plan, mode, known).await;
            }
        }
    }
}

async fn check_on_postgres(connection: &DatabaseConnection, mut plan: Plan, mode: &str, known: bool) {
    let what = plan.what;
    plan.statement.sql = format!("EXPLAIN (ANALYZE, FORMAT JSON) {}", plan.statement.sql);
    let explained = connection.query_one_raw(plan.statement).await.unwrap().unwrap();
    let explained: Value = explained.try_get_by_index(0).unwrap();
    let mut read = 0.0;
    for node in nodes(&explained[0]["Plan"]) {
        let kind = node["Node Type"].as_str().unwrap();
        assert_ne!(kind, "Seq Scan", "{what} ({mode}): {explained:#}");
        let used = node["Index Name"].as_str();
        let may = used.is_none_or(|used| used.ends_with("_pkey") || plan.indexes.contains(&used));
        assert!(may || !known, "{what} ({mode}) uses {used:?}: {explained:#}");
        // What an index leads to is counted where it is read, and what is read once is not counted again.
        if kind.ends_with("Scan") && !["Bitmap Index Scan", "Values Scan", "Subquery Scan"].contains(&kind) {
            let counts = ["Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck"];
            let rows: f64 = counts.iter().filter_map(|count| node[*count].as_f64()).sum();
            read += rows * node["Actual Loops"].as_f64().unwrap();
        }
    }
    let little = !known || read <= plan.rows as f64;
    assert!(little, "{what} ({mode}) reads {read} rows: {explained:#}");
}

/// All nodes of a plan.
fn nodes(plan: &Value) -> Vec<&Value> {
    let below = plan["Plans"].as_array().into_iter().flatten().flat_map(nodes);
    [plan].into_iter().chain(below).collect()
}

/// SQLite reads by these indexes, before the tables are filled and afterwards.
pub async fn check_plans_on_sqlite(
    connection: &DatabaseConnection,
    fill: impl AsyncFnOnce(),
    plans: impl Fn() -> Vec<Plan>,
) {
    for plan in plans() {
        check_on_sqlite(connection, plan).await;
    }
    fill().await;
    connection.execute_unprepared("ANALYZE").await.unwrap();
    for plan in plans() {
        check_on_sqlite(connection, plan).await;
    }
}

async fn check_on_sqlite(connection: &DatabaseConnection, mut plan: Plan) {
    plan.statement.sql = format!("EXPLAIN QUERY PLAN {}", plan.statement.sql);
    let rows = connection.query_all_raw(plan.statement).await.unwrap();
    let steps: Vec<String> = rows.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
    for step in &steps {
        // The values that are given, and no table.
        let given = step.contains("CONSTANT ROW") || step.contains("VALUES CLAUSE") || step == "SCAN keys";
        // Of an index that holds nothing but what is asked for, all is read.
        let all = step.ends_with("_unfinished");
        assert!(given || all || !step.starts_with("SCAN "), "{}: {steps:#?}", plan.what);
        let used = step.split_once(" INDEX ");
        let used = used.map(|(_, index)| index.split(' ').next().unwrap());
        let may = used.is_none_or(|used| used.starts_with("sqlite_autoindex_") || plan.indexes.contains(&used));
        assert!(may, "{}: {steps:#?}", plan.what);
    }
}
