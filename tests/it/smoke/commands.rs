//! The commands that read a configuration and leave; exit codes.

use std::path::{Path, PathBuf};

use super::program::{command, run};
use super::{Program, get};

/// A folder with a configuration of a gateway of its own.
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// With this text behind the addresses and the store.
    pub fn with(text: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write(text);
        folder
    }

    pub fn file(&self) -> PathBuf {
        self.0.path().join("switchboard.toml")
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes the configuration anew.
    pub fn write(&self, text: &str) {
        let store = self.0.path().join("store.db");
        let head = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndrain_timeout = \"5s\"\n{}\n[storage]\nurl = \"sqlite:{}\"\n",
            if text.starts_with("open") { text.lines().next().unwrap() } else { "" },
            store.display()
        );
        let body = if text.starts_with("open") { text.split_once('\n').unwrap().1 } else { text };
        std::fs::write(self.file(), head + body).unwrap();
    }
}

/// A provider that nobody asks, and its assistant.
pub const ASSISTANT: &str = "
[providers.model]
kind = \"openai\"
base_url = \"http://127.0.0.1:1/v1\"
[assistants.support]
provider = \"model\"
upstream_id = \"gpt\"
";

pub const KEY: &str = "
[[keys]]
name = \"app\"
secret = \"a-key-of-the-file\"
admin = true
";

#[tokio::test]
async fn wrong_words_are_2_failed_work_is_1() {
    for arguments in [&["swerve"][..], &[], &["keys"], &["keys", "create"], &["serve", "--nonsense"]] {
        let (status, out, err) = run(&mut command(arguments), "").await;
        assert_eq!((status.code(), out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(err.contains("Usage"), "{err}");
    }
    for arguments in [
        &["healthcheck", "--url", "nope"][..],
        &["healthcheck", "--url", "ftp://example.com"],
        &["chat", "--url", ""],
        &["keys", "create", "--name", ""],
        &["keys", "create", "--name", "a\nb"],
        &["keys", "create", "--name", "app", "--tenant", " "],
    ] {
        let (status, out, err) = run(&mut command(arguments), "").await;
        assert_eq!((status.code(), out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
    }
    let (status, out, _) = run(&mut command(&["--version"]), "").await;
    assert_eq!((status.code(), out.starts_with("switchboard ")), (Some(0), true));
    for arguments in [["serve"], ["check"], ["migrate"]] {
        let (status, _, err) = run(command(&arguments).args(["--config", "/nowhere.toml"]), "").await;
        assert_eq!(status.code(), Some(1));
        assert!(err.contains("cannot read the configuration `/nowhere.toml`"), "{err}");
        assert_eq!(err.matches("No such file").count(), 1, "{err}");
    }
}

#[tokio::test]
async fn check_says_what_is_wrong_and_where() {
    let folder = Folder::with(&format!("{ASSISTANT}{KEY}"));
    let (status, out, _) = run(command(&["check"]).env("SWITCHBOARD_CONFIG", folder.file()), "").await;
    assert_eq!(status.code(), Some(0));
    assert!(out.ends_with("no problem found (1 provider, 1 assistant, 1 key)\n"), "{out}");

    let (status, out, _) = run(command(&["check", "--print", "--config"]).arg(folder.file()), "").await;
    assert_eq!(status.code(), Some(0));
    assert!(out.contains("secret = \"********\"") && out.contains("idle_timeout = \"1m\""), "{out}");
    assert!(!out.contains("a-key-of-the-file"));

    let wrong = Folder::with(&format!("{ASSISTANT}fallback = [\"suport\"]\ndescripton = \"\"\n"));
    let (status, out, _) = run(command(&["check", "--config"]).arg(wrong.file()), "").await;
    assert_eq!(status.code(), Some(1));
    let file = wrong.file().display().to_string();
    let expected = format!(
        "{file}:15: assistants.support.fallback: there is no assistant `suport`; there is none\n\
         {file}:16: assistants.support.descripton: there is no such key; did you mean `description`?\n"
    );
    assert_eq!(out, expected);

    let (status, out, _) = run(command(&["check", "--probe", "--config"]).arg(folder.file()), "").await;
    assert_eq!(status.code(), Some(1), "nobody answers at the provider's address: {out}");
    assert!(out.contains("providers.model (openai): ") && !out.contains("no problem found"), "{out}");
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked() {
    let folder = Folder::with(ASSISTANT);
    let keys = async |arguments: &[&str]| {
        let (status, out, err) =
            run(command(&["keys"]).args(arguments).arg("--config").arg(folder.file()), "").await;
        (status.code(), out, err)
    };
    let (status, out, err) = keys(&["create", "--name", "app", "--tenant", "shop", "--may", "adopt"]).await;
    assert_eq!(status, Some(0), "{err}");
    assert_eq!(out.lines().count(), 1, "the secret alone: {out}");
    let secret = out.trim().to_owned();
    assert!(secret.len() >= 40 && !err.contains(&secret), "{secret} {err}");
    let audited = |err: &str| {
        let lines = err.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.filter(|line| line["target"] == "audit").collect::<Vec<_>>()
    };
    let [line] = &audited(&err)[..] else { panic!("{err}") };
    assert_eq!(
        (&line["action"], &line["key.name"], &line["tenant"]),
        (&"keys create".into(), &"app".into(), &"shop".into())
    );
    let (_, out, _) = keys(&["list"]).await;
    assert!(
        out.contains("app") && out.contains("shop") && out.contains("adopt") && !out.contains(&secret),
        "{out}"
    );
    let id = out.lines().nth(1).unwrap().split_whitespace().next().unwrap().to_owned();

    let gateway = Program::serve(&folder.file(), &secret).await;
    assert_eq!(get(&gateway, "/v1/assistants").await.0, 200);
    let (status, out, err) = keys(&["revoke", &id]).await;
    let [line] = &audited(&err)[..] else { panic!("{err}") };
    assert_eq!((&line["action"], &line["key.id"]), (&"keys revoke".into(), &id.as_str().into()));
    assert_eq!((status, out), (Some(0), format!("revoked {id} (app)\n")));
    // Within a second: asked again and again until then, and for much longer before it is called a failure.
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(50));
    let refused = async {
        while get(&gateway, "/v1/assistants").await.0 != 401 {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(super::program::PATIENCE, refused).await.expect("the key stops working");

    let (status, _, err) = keys(&["revoke", "key_00000000000000000000000000000000"]).await;
    assert_eq!(status, Some(1));
    assert!(err.contains("there is no key key_0"), "{err}");
    let (status, _, err) = keys(&["create", "--name", "x", "--assistant", "nobody"]).await;
    assert_eq!(status, Some(1));
    assert!(err.contains("no assistant `nobody`"), "{err}");
    assert_eq!(keys(&["create", "--name", "x", "--may", "fly"]).await.0, Some(2));
    assert_eq!(keys(&["create", "--name", "x", "--expires", "soon"]).await.0, Some(2));
}

#[tokio::test]
async fn migrate_makes_the_store() {
    let folder = Folder::with(&format!("{ASSISTANT}{KEY}"));
    for _ in 0..2 {
        let (status, _, err) = run(command(&["migrate", "--config"]).arg(folder.file()), "").await;
        assert_eq!(status.code(), Some(0), "{err}");
    }
    assert!(folder.path().join("store.db").exists());
}

#[tokio::test]
async fn healthcheck_asks_whether_the_gateway_is_ready() {
    let folder = Folder::with(&format!("{ASSISTANT}{KEY}"));
    let gateway = Program::serve(&folder.file(), "a-key-of-the-file").await;
    let (status, ..) = run(&mut command(&["healthcheck", "--url", &gateway.url]), "").await;
    assert_eq!(status.code(), Some(0));
    let (status, _, err) =
        run(command(&["healthcheck"]).env("SWITCHBOARD_URL", "http://127.0.0.1:1"), "").await;
    assert_eq!(status.code(), Some(1));
    assert!(err.contains("nobody answers there"), "{err}");
}
