//! The walk of the README, as it is printed there.

use crate::World;
use clientele_testkit::{Caller, Calls, on_both_engines};
use serde_json::Value;
use std::process::Command;

const README: &str = include_str!("../../../../README.md");

/// A call that the README makes.
struct Call {
    server: String,
    method: String,
    request: Value,
}

/// What bash makes of the README's blocks if `call` only prints what it is given: loops run, variables are filled in.
fn calls() -> Vec<Call> {
    let blocks = README
        .split("```sh\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap());
    let lines = blocks.filter(|block| block.contains("call -d")).flat_map(str::lines);
    let script: Vec<&str> = lines.collect();
    let printing =
        "call() { printf '%s\\x1f' \"$@\"; printf '\\x1e'; }\nORG=org ASSIGNMENT=assignment SETTINGS=settings\n";
    let output = Command::new("bash")
        .arg("-euc")
        .arg(printing.to_owned() + &script.join("\n"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    printed
        .split('\u{1e}')
        .filter(|call| !call.is_empty())
        .map(read)
        .collect()
}

fn read(printed: &str) -> Call {
    let mut arguments: Vec<&str> = printed.trim_end_matches('\u{1f}').split('\u{1f}').collect();
    let method = arguments.pop().unwrap().to_owned();
    let server = arguments.pop().unwrap().to_owned();
    let request = arguments
        .iter()
        .position(|argument| *argument == "-d")
        .map(|at| arguments[at + 1]);
    Call {
        server,
        method: format!("/{method}"),
        request: serde_json::from_str(request.unwrap()).unwrap(),
    }
}

#[tokio::test]
async fn the_set_up_works_as_printed() {
    let calls = calls();
    assert!(calls.len() > 10, "the README's walk has {} calls", calls.len());
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let mut operator = Caller::with(world.tokens.operator());
        let mut answers = Vec::new();
        for Call {
            server,
            method,
            request,
        } in self::calls()
        {
            let running = match server.as_str() {
                "org" => &world.org,
                "assignment" => &world.assignment,
                "settings" => &world.settings,
                other => panic!("the README names no server {other}"),
            };
            let (answer, headers) = Calls::new(running.channel().await)
                .call(&method, &operator, request)
                .await
                .unwrap_or_else(|status| panic!("{method}: {status:?}"));
            if let Some(revision) = headers.get("clientele-revision") {
                // A person takes longer than the services need to hear of it.
                let seen = operator.min_revision.take().unwrap_or_default();
                operator.min_revision = Some(format!("{seen},{}", revision.to_str().unwrap()));
            }
            answers.push((method, answer));
        }
        let answer = |method: &str| {
            let found = answers.iter().rev().find(|(known, _)| known.ends_with(method));
            &found.unwrap_or_else(|| panic!("the README does not call {method}")).1
        };
        assert_eq!(answer("/UpdateLogo")["logo"]["contentType"], "image/png");
        assert_eq!(answer("/ListAssignments")["assignments"].as_array().unwrap().len(), 2);
        assert_eq!(answer("/CheckAccess")["reason"], "DENIAL_REASON_NOT_ASSIGNED");
        let effective = &answer("/GetSettings")["effective"];
        assert_eq!(
            (&effective["language"], &effective["layout"]),
            (&"de".into(), &"LAYOUT_HORIZONTAL".into())
        );
        assert_eq!(effective["handoff"]["smartEnabled"], true);
        assert_eq!(answer("/ListEntries")["entries"].as_array().unwrap().len(), 2);
        assert_eq!(answer("/Watch")["entry"]["changes"][0]["resource"], "workspaces/acme");
    })
    .await;
}
