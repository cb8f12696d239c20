//! What only a browser can tell: the API's page works under its own policy, and a page of another origin streams a turn and goes on with
//! it after it was loaded again. Chromium is driven by `tests/browser/drive.mjs`.

mod origin;
mod relay;

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;

use crate::smoke::program::{PATIENCE, Program, get, text_of};
use origin::Origin;
use relay::Relay;

const KEY: &str = "a-key-of-the-pages-server";
const QUESTION: &str = "What is our holiday policy?";
/// As much of the provider's stream as passes before the page was loaded again: some of the text, cut anywhere.
const BYTES_BEFORE: usize = 2000;

/// A browser and who drives it.
struct Driver {
    child: Child,
    told: ChildStdin,
    says: Lines<BufReader<ChildStdout>>,
}

impl Driver {
    fn start(scene: &[&str]) -> Self {
        let folder = std::env::var_os("SWITCHBOARD_TEST_BROWSER").expect(
            "SWITCHBOARD_TEST_BROWSER is not set: `tests/run` sets it to what `tests/browser/install` prints",
        );
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/browser/drive.mjs");
        let mut command = Command::new("node");
        command.arg(script).args(scene).env("SWITCHBOARD_TEST_BROWSER", folder).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let says = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = child.stdin.take().unwrap();
        Self { child, told, says }
    }

    /// The next thing that it says.
    async fn says(&mut self) -> Value {
        let line =
            tokio::time::timeout(PATIENCE * 2, self.says.next_line()).await.expect("it goes on").unwrap();
        serde_json::from_str(&line.expect("what went wrong stands on standard error")).unwrap()
    }

    async fn go_on(&mut self) {
        self.told.write_all(b"go on\n").await.unwrap();
    }

    async fn ends_well(mut self) {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap();
        assert!(status.success());
    }
}

#[tokio::test]
async fn the_page_of_the_api_reads_tries_and_streams() {
    let gateway = Program::demo().await;
    let mut driver = Driver::start(&["docs", &gateway.url, &gateway.key]);
    let seen = driver.says().await;
    assert!(seen["operations"].as_u64().unwrap() > 50, "{seen}");
    driver.ends_well().await;
}

/// A gateway that lets pages of `allowed` call, in front of a simulated provider that is held up.
struct Stage {
    gateway: Program,
    relay: Relay,
    origin: Origin,
    _folder: tempfile::TempDir,
    _serving: JoinSet<()>,
}

impl Stage {
    async fn open(is_allowed: bool) -> Self {
        let mut serving = JoinSet::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Relay::open(listener.local_addr().unwrap(), BYTES_BEFORE, &mut serving).await;
        let options = simulator::Options { pace: simulator::Pace::Instant, ..simulator::Options::default() };
        serving.spawn(simulator::serve(listener, options, std::future::pending::<()>()));
        let origin = Origin::bind().await;
        let allowed = if is_allowed { origin.url.clone() } else { "https://shop.example.com".to_owned() };
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"\"\ncors_origins = [\"{allowed}\"]\n\
             [storage]\nurl = \"memory:\"\n\
             [providers.library]\nkind = \"unleash\"\nbase_url = \"http://{}/unleash\"\napi_key = \"{}\"\n\
             [assistants.docs]\nprovider = \"library\"\nupstream_id = \"3f2b6c1e-8d4a-4f0b-9a67-2c5d1e7f9b03\"\n\
             [[keys]]\nname = \"page\"\nsecret = \"{KEY}\"\nmay = [\"tokens\"]\n",
            relay.address,
            simulator::KEY,
        );
        let file = folder.path().join("switchboard.toml");
        std::fs::write(&file, text).unwrap();
        let gateway = Program::serve(&file, KEY).await;
        Self { gateway, relay, origin, _folder: folder, _serving: serving }
    }
}

#[tokio::test]
async fn a_page_of_another_origin_goes_on_after_it_was_loaded_again() {
    let Stage { gateway, relay, origin, _folder, _serving } = Stage::open(true).await;
    let page = origin.url.clone();
    let mut serving = JoinSet::new();
    serving.spawn(origin.serve(gateway.url.clone(), KEY));
    let mut driver = Driver::start(&["reload", &page, QUESTION]);
    let before = &driver.says().await["reloaded"];
    assert!(!before["text"].as_str().unwrap().is_empty(), "{before}");
    relay.open.notify_one();
    driver.go_on().await;
    let after = driver.says().await;
    driver.ends_well().await;

    let (status, turn) = get(&gateway, &format!("/v1/chat/{}", after["id"].as_str().unwrap())).await;
    assert_eq!((status, &turn["status"]), (200, &json!("completed")), "{turn}");
    assert_eq!(after["text"], text_of(&turn), "to the byte");
    assert_eq!(after["shown"], after["text"]);
    let seen: Vec<_> = after["seen"].as_array().unwrap().iter().map(|seq| seq.as_u64().unwrap()).collect();
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>(), "every event, none twice");
    let before = before["seen"].as_array().unwrap().len();
    assert!(before < seen.len(), "some came after it was loaded again: {before} of {}", seen.len());
    assert_eq!(after["origins"], json!([page, gateway.url]));
    assert_eq!(turn["conversation_id"].as_str().map(|id| id.starts_with("conv_")), Some(true));
}

#[tokio::test]
async fn a_page_of_an_origin_that_is_not_allowed_reads_nothing() {
    let Stage { gateway, relay, origin, _folder, _serving } = Stage::open(false).await;
    relay.open.notify_one();
    let page = origin.url.clone();
    let mut serving = JoinSet::new();
    serving.spawn(origin.serve(gateway.url.clone(), KEY));
    let mut driver = Driver::start(&["stranger", &page, QUESTION]);
    let seen = driver.says().await;
    assert_eq!(seen["reply"], "", "{seen}");
    driver.ends_well().await;
    // The browser asked first whether it may, and has asked for nothing more.
    assert_eq!(get(&gateway, "/v1/conversations").await.1["data"], json!([]));
}
