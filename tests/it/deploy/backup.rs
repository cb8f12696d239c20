//! Backups as docker/README.md says to make them, of a gateway that works, and a gateway on what was restored.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tokio::process::Command;

use super::read;
use crate::smoke::program::{Program, get, post};

const KEY: &str = "0123456789abcdef";

/// A gateway on this store. Nobody asks its provider.
async fn gateway(folder: &Path, store: &str) -> Program {
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n[storage]\nurl = \"{store}\"\n\
         [providers.model]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\n\
         [assistants.support]\nprovider = \"model\"\nupstream_id = \"gpt\"\n[[keys]]\nname = \"app\"\nsecret = \"{KEY}\"\n"
    );
    let file = folder.join(format!("{}.toml", uuid::Uuid::new_v4()));
    std::fs::write(&file, text).unwrap();
    Program::serve(&file, KEY).await
}

async fn conversation(program: &Program) -> String {
    let made = post(program, "/v1/conversations", &json!({"assistant": "support"})).await;
    made["id"].as_str().unwrap().to_owned()
}

async fn say(program: &Program, conversation: &str, number: usize) {
    let body = json!({"role": "user", "text": format!("message {number}")});
    post(program, &format!("/v1/conversations/{conversation}/messages"), &body).await;
}

async fn texts(program: &Program, conversation: &str) -> Vec<String> {
    let (status, list) = get(program, &format!("/v1/conversations/{conversation}/messages?limit=100")).await;
    assert_eq!(status, 200, "{list}");
    let text = |message: &Value| message["text"].as_str().unwrap().to_owned();
    let mut texts: Vec<_> = list["data"].as_array().unwrap().iter().map(text).collect();
    texts.sort_by_key(|text| text.split(' ').next_back().unwrap().parse::<usize>().unwrap());
    texts
}

/// Has messages written before the backup, and more while it is made; then holds the restored gateway to the first, and to a history
/// without a gap.
async fn back_up_and_restore<B, R>(program: Program, backup: impl FnOnce() -> B, restore: impl FnOnce() -> R)
where
    B: Future<Output = ()>,
    R: Future<Output = Program>,
{
    let id = conversation(&program).await;
    for number in 0..20 {
        say(&program, &id, number).await;
    }
    let writing = async {
        for number in 20..60 {
            say(&program, &id, number).await;
        }
    };
    tokio::join!(writing, backup());
    assert_eq!(texts(&program, &id).await.len(), 60);
    program.signal("TERM").await;
    assert!(program.ended().await.success());

    let restored = restore().await;
    let kept = texts(&restored, &id).await;
    assert!(kept.len() >= 20, "what was there before the backup is in it: {}", kept.len());
    let expected: Vec<_> = (0..kept.len()).map(|number| format!("message {number}")).collect();
    assert_eq!(kept, expected);
    // It is no museum.
    say(&restored, &id, kept.len()).await;
    assert_eq!(texts(&restored, &id).await.len(), kept.len() + 1);
}

#[tokio::test]
async fn a_sqlite_file_is_backed_up_while_it_is_written() {
    assert!(read("docker/README.md").contains("VACUUM INTO"));
    let folder = tempfile::tempdir().unwrap();
    let (file, copy) = (folder.path().join("switchboard.db"), folder.path().join("backup.db"));
    let program = gateway(folder.path(), &format!("sqlite:{}", file.display())).await;
    let backup = || async {
        let (from, into) = (file.clone(), copy.display().to_string());
        // On another thread: messages are written meanwhile.
        let copied = tokio::task::spawn_blocking(move || {
            rusqlite::Connection::open(from).unwrap().execute("VACUUM INTO ?1", [into]).unwrap();
        });
        copied.await.unwrap();
    };
    let restore = || async {
        // Into another folder, as on another machine: one file is all.
        let elsewhere = folder.path().join("restored");
        std::fs::create_dir(&elsewhere).unwrap();
        std::fs::copy(&copy, elsewhere.join("switchboard.db")).unwrap();
        gateway(folder.path(), &format!("sqlite:{}/switchboard.db", elsewhere.display())).await
    };
    back_up_and_restore(program, backup, restore).await;
}

/// PostgreSQL's own programs, where Debian has them or the path does.
fn tool(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = versions.map(|version| version.path().join("bin").join(name)).collect();
    found.retain(|path| path.exists());
    found.sort();
    found.pop().unwrap_or_else(|| name.into())
}

async fn run(name: &str, arguments: &[&str]) {
    let output = Command::new(tool(name)).args(arguments).output().await;
    let output = output.unwrap_or_else(|error| panic!("{name}: {error}; it comes with PostgreSQL"));
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_postgresql_is_dumped_while_it_is_written() {
    let guide = read("docker/README.md");
    assert!(guide.contains("pg_dump --format=custom") && guide.contains("pg_restore --exit-on-error"));
    #[expect(clippy::disallowed_methods, reason = "a test has no configuration to read the server from")]
    let Ok(server) = std::env::var("SWITCHBOARD_TEST_POSTGRES") else {
        eprintln!("skipped: SWITCHBOARD_TEST_POSTGRES names no server");
        return;
    };
    let (place, query) = server.split_once('?').unwrap_or((&server, ""));
    let root = match place.rsplit_once('/') {
        Some((root, _)) if !root.ends_with('/') => root,
        _ => place,
    };
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("switchboard.dump").display().to_string();
    let names = ["from", "into"].map(|end| format!("switchboard_{}_{end}", uuid::Uuid::now_v7().simple()));
    let [from, into] = names.each_ref().map(|name| format!("{root}/{name}?{query}"));
    let mut admin = sqlx::PgConnection::connect(&server).await.unwrap();
    for name in &names {
        // Two at once would both copy the template.
        admin.execute("SELECT pg_advisory_lock(731)").await.unwrap();
        admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        admin.execute("SELECT pg_advisory_unlock(731)").await.unwrap();
    }
    let program = gateway(folder.path(), &from).await;
    let backup = || async { run("pg_dump", &["--format=custom", "--file", &dump, &from]).await };
    let restore = || async {
        run("pg_restore", &["--exit-on-error", "--no-owner", "--dbname", &into, &dump]).await;
        gateway(folder.path(), &into).await
    };
    back_up_and_restore(program, backup, restore).await;
    for name in names {
        admin.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await.unwrap();
    }
}
