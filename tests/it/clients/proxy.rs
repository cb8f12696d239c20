//! nginx and Caddy with the configurations of `docker/clients`, each a process of its own on a free port.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use crate::smoke::program::PATIENCE;

/// Which proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Caddy,
}

/// A running proxy, with TLS. Ends with the test.
pub struct Proxy {
    pub url: String,
    /// Knows the proxy's certificate and no other.
    pub client: reqwest::Client,
    _child: Child,
    /// Kept open: a proxy that cannot write its log stops.
    _log: Lines<BufReader<ChildStderr>>,
    _folder: tempfile::TempDir,
}

/// A recipe with each of these words put in another's place; all must be there.
pub fn changed(recipe: &str, changes: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/clients").join(recipe);
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{recipe} has no `{from}`");
        text = text.replace(from, to);
    }
    text
}

impl Proxy {
    /// In front of these addresses: one, or for nginx several. `changes` are made to the recipe beside addresses and certificates.
    pub async fn start(kind: Kind, upstreams: &[&str], changes: &[(&str, &str)]) -> Self {
        // Neither takes a port that the system chooses, so another may be quicker: then the next one is tried.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if let Some(proxy) = Self::start_at(port, kind, upstreams, changes).await {
                return proxy;
            }
        }
        panic!("{kind:?} does not start");
    }

    async fn start_at(port: u16, kind: Kind, upstreams: &[&str], changes: &[(&str, &str)]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(path("fullchain.pem"), made.cert.pem()).unwrap();
        std::fs::write(path("privkey.pem"), made.signing_key.serialize_pem()).unwrap();
        let certificates = [
            ("/etc/ssl/switchboard/fullchain.pem", path("fullchain.pem")),
            ("/etc/ssl/switchboard/privkey.pem", path("privkey.pem")),
        ];
        let mut changes = changes.to_vec();
        changes.extend(certificates.iter().map(|(from, to)| (*from, to.as_str())));
        let mut command = match kind {
            Kind::Nginx => nginx(port, upstreams, &changes, &path),
            Kind::Caddy => caddy(port, upstreams, &changes, &path),
        };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = match kind {
            // Its modules begin once it listens.
            Kind::Nginx => "event method",
            Kind::Caddy => "serving initial configuration",
        };
        let starting = async {
            let mut said = String::new();
            while let Some(line) = log.next_line().await.unwrap() {
                if line.contains(ready) {
                    return true;
                }
                said.push_str(&line);
            }
            assert!(said.to_lowercase().contains("address already in use"), "{kind:?}: {said}");
            false
        };
        let listens =
            tokio::time::timeout(PATIENCE, starting).await.unwrap_or_else(|_| panic!("{kind:?} is slow"));
        let authority = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([authority]).timeout(PATIENCE);
        let url = format!("https://localhost:{port}");
        let client = client.build().unwrap();
        listens.then_some(Self { url, client, _child: child, _log: log, _folder: folder })
    }
}

fn nginx(port: u16, upstreams: &[&str], changes: &[(&str, &str)], path: &impl Fn(&str) -> String) -> Command {
    let servers: String = upstreams.iter().map(|address| format!("server {address};")).collect();
    let listen = format!("listen 127.0.0.1:{port} ssl;");
    let mut all = vec![
        ("server 127.0.0.1:8080;", servers.as_str()),
        ("listen 443 ssl;", &listen),
        ("chat.example.com", "localhost"),
    ];
    all.extend_from_slice(changes);
    std::fs::write(path("switchboard.conf"), changed("nginx.conf", &all)).unwrap();
    let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {};\n", path(name)))
        .collect();
    // One process, so that nothing is left when it is killed.
    let whole = format!(
        "daemon off;\nmaster_process off;\npid {};\nerror_log stderr notice;\nevents {{}}\n\
         http {{\naccess_log off;\n{folders}include {};\n}}\n",
        path("pid"),
        path("switchboard.conf")
    );
    std::fs::write(path("nginx.conf"), whole).unwrap();
    // Where it is installed is no place that everybody looks in.
    let program = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    let mut command = Command::new(program);
    command.args(["-p", &path(""), "-c", &path("nginx.conf"), "-e", "stderr"]);
    command
}

fn caddy(port: u16, upstreams: &[&str], changes: &[(&str, &str)], path: &impl Fn(&str) -> String) -> Command {
    let listen = format!("https://localhost:{port}");
    let upstreams = format!("reverse_proxy {}", upstreams.join(" "));
    let mut all = vec![("chat.example.com", listen.as_str()), ("reverse_proxy 127.0.0.1:8080", &upstreams)];
    all.extend_from_slice(changes);
    let global = "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}\n";
    std::fs::write(path("Caddyfile"), format!("{global}{}", changed("Caddyfile", &all))).unwrap();
    let mut command = Command::new("caddy");
    command.args(["run", "--adapter", "caddyfile", "--config", &path("Caddyfile")]);
    command.env("XDG_DATA_HOME", path("data")).env("XDG_CONFIG_HOME", path("config"));
    command
}
