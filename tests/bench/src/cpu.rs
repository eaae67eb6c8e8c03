//! What a call costs: the processor time of this process, the programs it ran, and the PostgreSQL beside it. Unlike rates, it hardly
//! depends on what else the machine does.

use anyhow::Result;
use sqlx::{Connection as _, PgConnection};
use std::time::Duration;

/// What counts besides this process and its children.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meter {
    /// The first process of PostgreSQL, if it runs on this machine.
    postmaster: Option<u32>,
}

impl Meter {
    /// Finds PostgreSQL's processes.
    pub(crate) async fn find(admin: &str) -> Result<Self> {
        let mut connection = PgConnection::connect(admin).await?;
        let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
            .fetch_one(&mut connection)
            .await?;
        let backend = Process::read(&backend.to_string()).filter(|process| process.name == "postgres");
        connection.close().await?;
        let postmaster = backend.map(|backend| backend.parent);
        Ok(Self { postmaster })
    }

    /// The time spent so far; None where the system does not tell.
    pub(crate) fn read(self) -> Option<Duration> {
        let own = Process::read("self")?;
        let mut spent = own.spent + own.ended_children;
        let Some(postmaster) = self.postmaster else {
            return Some(spent);
        };
        for entry in std::fs::read_dir("/proc").ok()?.flatten() {
            let pid = entry.file_name();
            let process = pid.to_str().and_then(Process::read);
            let Some(process) = process else { continue };
            if process.parent == postmaster {
                spent += process.spent;
            } else if pid.to_str() == Some(&postmaster.to_string()) {
                spent += process.spent + process.ended_children;
            }
        }
        Some(spent)
    }

    /// The time spent since then.
    pub(crate) fn since(self, then: Option<Duration>) -> Option<Duration> {
        Some(self.read()?.saturating_sub(then?))
    }
}

/// A line of `/proc/{pid}/stat`.
struct Process {
    name: String,
    parent: u32,
    spent: Duration,
    ended_children: Duration,
}

impl Process {
    fn read(pid: &str) -> Option<Self> {
        const TICK: Duration = Duration::from_millis(10);
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything; numbers follow its last parenthesis: state, parent, ...
        let (head, numbers) = stat.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let numbers = numbers.split_whitespace().collect::<Vec<_>>();
        let ticks = |at: usize| numbers.get(at)?.parse::<u32>().ok();
        Some(Self {
            name: name.to_owned(),
            parent: numbers.get(1)?.parse().ok()?,
            spent: TICK * (ticks(11)? + ticks(12)?),
            ended_children: TICK * (ticks(13)? + ticks(14)?),
        })
    }
}
