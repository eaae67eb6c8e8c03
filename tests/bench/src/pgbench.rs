//! pgbench as the ceiling of a write: the same rows into the same tables.

use crate::Bench;
use crate::load::Sample;
use anyhow::{Context as _, Result, bail};
use sqlx::{Connection as _, PgConnection};
use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How much longer than asked for it may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The share of transactions whose latency is written down.
const LOGGED: &str = "0.2";

/// How the work is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    /// BEGIN, a statement for each row, COMMIT.
    Transaction,
    /// All rows in one statement, which is its own transaction.
    Statement,
}

/// The creation of an organization, as a script.
#[derive(Debug)]
pub(crate) struct Script {
    /// The values that all rows share, as `-D` options.
    values: Vec<String>,
    organization: Insert,
    journal: Insert,
}

/// An INSERT, as pgbench sends it and as sqlx does.
#[derive(Debug)]
struct Insert {
    script: String,
    statement: String,
}

/// Uids rise as the service's do: what is inserted last is at the end of its index.
const PREAMBLE: &str = r"\set i :i + 1
\set a :begin + :i * 100 + :client_id
\set b random(1000000000000000, 9999999999999999)
\set c random(1000000000000000, 9999999999999999)
";
const UID: &str = "(:a::text || :b::text)::uuid";
const ID: &str = "'org-0123456789012345' || :a::text";

impl Script {
    /// Of the newest organization of this database and its journal row: their values, but for those that must be unique.
    pub(crate) async fn read(url: &str) -> Result<Self> {
        let mut connection = PgConnection::connect(url).await?;
        let mut values = Vec::new();
        let unique = [
            ("uid", UID, "$1"),
            ("id", ID, "$2"),
            ("external_id", "'crm-0123456789012345' || :a::text", "$3"),
        ];
        let organization = insert(&mut connection, &mut values, "organizations", "uid", &unique).await?;
        let epoch = "(SELECT epoch FROM journal_state)";
        let unique = [
            ("xid", "", ""),
            ("seq", "", ""),
            ("epoch", epoch, epoch),
            ("mutation_id", "(:a::text || :c::text)::uuid", "$4"),
            ("organization_uid", UID, "$1"),
            ("organization_id", ID, "$2"),
            ("request_id", "(:c::text || :b::text)::uuid", "$5"),
        ];
        let journal = insert(&mut connection, &mut values, "journal", "seq", &unique).await?;
        connection.close().await?;
        Ok(Self {
            values,
            organization,
            journal,
        })
    }

    /// Both rows in one statement; $1 to $5 are uid, id, external id, mutation id and request id.
    pub(crate) fn statement(&self) -> String {
        let (organization, journal) = (&self.organization.statement, &self.journal.statement);
        format!("WITH w0 AS ({organization}) {journal} RETURNING xid, seq")
    }

    fn text(&self, form: Form) -> String {
        let (organization, journal) = (&self.organization.script, &self.journal.script);
        match form {
            Form::Transaction => {
                format!("{PREAMBLE}BEGIN;\n{organization};\n{journal} RETURNING xid, seq;\nCOMMIT;\n")
            }
            Form::Statement => format!("{PREAMBLE}WITH w0 AS ({organization}) {journal} RETURNING xid, seq;\n"),
        }
    }

    /// Runs it with so many clients.
    pub(crate) async fn run(&self, bench: &Bench, url: &str, form: Form, clients: usize) -> Result<Sample> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("create.sql");
        std::fs::write(&file, self.text(form))?;
        let begin = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() * 1_000;
        let mut command = Command::new(&bench.pgbench);
        command
            .args(["-n", "-M", "prepared", "-j", "2", "-l", "--sampling-rate", LOGGED])
            .arg("--log-prefix")
            .arg(folder.path().join("log"))
            .arg("-f")
            .arg(&file)
            .args(["-c", &clients.to_string(), "-T", &bench.length.as_secs().to_string()])
            .args(["-D", "i=0", "-D", &format!("begin={begin}")])
            .args(self.values.iter().flat_map(|value| ["-D", value]))
            .arg(url);
        let spent = bench.cpu.read();
        let run = tokio::task::spawn_blocking(move || command.output());
        let output = tokio::time::timeout(bench.length + PATIENCE, run)
            .await
            .context("pgbench did not end")??
            .with_context(|| format!("{} must be there: see --pgbench", bench.pgbench.display()))?;
        let spent = bench.cpu.since(spent);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let failed = told.contains("number of failed transactions: ") && !told.contains("failed transactions: 0 ");
        if !output.status.success() || failed {
            let mut message = told;
            write!(message, "{}", String::from_utf8_lossy(&output.stderr))?;
            bail!("pgbench failed: {message}");
        }
        let number = |label: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(label));
            let word = line.and_then(|rest| rest.split_whitespace().next());
            word.and_then(|word| word.parse::<f64>().ok())
                .with_context(|| format!("pgbench did not tell {label:?}"))
        };
        let transactions = number("number of transactions actually processed: ")?;
        let took = Duration::from_secs_f64(transactions / number("tps = ")?);
        Ok(Sample::new(
            latencies(folder.path())?,
            transactions as usize,
            took,
            spent,
        ))
    }
}

/// Inserts the newest row of the table again, with other expressions in the place of some columns: the first for pgbench, the second for
/// sqlx; "" leaves it to the database.
async fn insert(
    connection: &mut PgConnection,
    values: &mut Vec<String>,
    table: &str,
    newest_by: &str,
    unique: &[(&str, &str, &str)],
) -> Result<Insert> {
    // Arrays are written in braces.
    let sql = format!(
        "SELECT key, value, quote_nullable(value) FROM (SELECT key, CASE jsonb_typeof(value) \
         WHEN 'array' THEN translate(value::text, '[] ', '{{}}') ELSE value #>> '{{}}' END AS value FROM \
         jsonb_each((SELECT to_jsonb(t) FROM {table} t ORDER BY {newest_by} DESC LIMIT 1))) AS newest"
    );
    let row: Vec<(String, Option<String>, String)> =
        sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(connection).await?;
    let (mut columns, mut variables, mut literals) = (Vec::new(), Vec::new(), Vec::new());
    for (column, value, literal) in row {
        let (variable, literal) = match (unique.iter().find(|(name, ..)| *name == column), value) {
            (Some((_, "", _)), _) => continue,
            (Some((_, variable, parameter)), _) => ((*variable).to_owned(), (*parameter).to_owned()),
            (None, None) => (literal.clone(), literal),
            (None, Some(value)) => {
                let name = format!("v{}", values.len());
                values.push(format!("{name}={value}"));
                (format!(":{name}"), literal)
            }
        };
        columns.push(column);
        variables.push(variable);
        literals.push(literal);
    }
    let insert = |values: Vec<String>| {
        format!(
            "INSERT INTO {table} ({}) VALUES ({})",
            columns.join(", "),
            values.join(", ")
        )
    };
    Ok(Insert {
        script: insert(variables),
        statement: insert(literals),
    })
}

fn latencies(folder: &std::path::Path) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let file = file?;
        if !file.file_name().to_string_lossy().starts_with("log") {
            continue;
        }
        let text = std::fs::read_to_string(file.path())?;
        let times = text.lines().filter_map(|line| line.split(' ').nth(2)?.parse().ok());
        latencies.extend(times.map(Duration::from_micros));
    }
    Ok(latencies)
}
