//! A PostgreSQL of this run's own, for the cases with a store on it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::machine::{Cores, Process};

/// How long it may take until it answers.
const START_MAX: Duration = Duration::from_secs(30);

/// A server; ends with this.
#[derive(Debug)]
pub(crate) struct Postgres {
    process: Option<Process>,
    root: PathBuf,
    /// Where its database is.
    pub(crate) url: String,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.process.take());
        // What is left behind in a temporary folder is no reason to fail.
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Starts one on the cores of the load, with its promises on (`fsync`). None where PostgreSQL is not installed.
pub(crate) fn start(work: &Path, cores: &Cores) -> anyhow::Result<Option<Postgres>> {
    let Some(bin) = bin() else { return Ok(None) };
    // Not in the benchmark's own folder: the server is another user, who may not look into everybody's.
    let root = std::env::temp_dir().join(format!("switchboard-bench-{}", std::process::id()));
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("data"))?;
    let is_root =
        fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0).unwrap_or(false);
    if is_root {
        let own = Command::new("chown").args(["-R", "postgres:"]).arg(&root).status()?;
        ensure!(own.success(), "chown");
    }
    let (data, place) = (root.join("data").display().to_string(), root.display().to_string());
    // It refuses to be root.
    let change = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"];
    let words = |program: &str, arguments: &[&str]| -> Vec<String> {
        let program = bin.join(program).display().to_string();
        let change = if is_root { &change[..] } else { &[] };
        let words = change.iter().copied().chain([program.as_str()]).chain(arguments.iter().copied());
        words.map(str::to_owned).collect()
    };
    let made = words("initdb", &["-D", &data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C"]);
    let made = command(&made)?.current_dir(&root).output()?;
    ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let listens = format!("listen_addresses=127.0.0.1,port={port}");
    let (address, number) = listens.split_once(',').context("settings")?;
    let sockets = format!("unix_socket_directories={place}");
    let settings = ["-D", &data, "-c", address, "-c", number, "-c", &sockets, "-c", "max_connections=100"];
    let server = words("postgres", &settings);
    let (program, arguments) = server.split_first().context("no words")?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let log = fs::File::create(work.join("postgres.log"))?;
    let process = Process::start(Path::new(program), &arguments, cores.load.as_deref(), |command| {
        command.current_dir(&root).stdout(Stdio::null()).stderr(log);
        Ok(())
    })?;
    let until = Instant::now() + START_MAX;
    let ready = words("pg_isready", &["-q", "-h", "127.0.0.1", "-p", &port.to_string(), "-U", "postgres"]);
    while !command(&ready)?.status()?.success() {
        ensure!(Instant::now() < until, "PostgreSQL does not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    Ok(Some(Postgres { process: Some(process), root, url }))
}

fn command(words: &[String]) -> anyhow::Result<Command> {
    let (program, arguments) = words.split_first().context("no words")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

/// Where its programs are: the newest version.
fn bin() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut all: Vec<_> = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect();
    all.sort();
    all.into_iter().rev().find(|bin| bin.join("initdb").exists())
}
