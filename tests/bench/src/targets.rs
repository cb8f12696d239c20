//! Who is asked: the upstream itself, nginx before it, the gateway before it.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::dialect::DIALECTS;
use crate::events::Face;
use crate::machine::{Cores, Process};
use crate::{http, tls};

/// The key that the load has.
pub(crate) const KEY: &str = "a-key-of-the-benchmark";
/// How long a process may take until it answers.
const START_MAX: Duration = Duration::from_secs(20);

/// The user's message: about a kilobyte.
fn message() -> String {
    "A question of about one kilobyte, so that requests are as long as people's are. ".repeat(12)
}

/// Somebody who can be asked.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// `direct`, `nginx`, `gateway`, with what is special in parentheses.
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) face: Face,
    /// The request for a whole answer.
    pub(crate) whole: Vec<u8>,
    /// What an answer must have in it to be whole.
    pub(crate) whole_text: Vec<u8>,
    /// Makes the request for a stream of so many pieces so many milliseconds apart.
    stream: Asking,
}

#[derive(Debug, Clone)]
enum Asking {
    Plain {
        prefix: &'static str,
    },
    /// OpenAI's dialect, which keeps nothing.
    Dialect {
        kind: &'static str,
    },
    /// The gateway's own API.
    Native {
        kind: &'static str,
        store: bool,
    },
}

impl Asking {
    fn request(&self, pieces: usize, millis: u64) -> Vec<u8> {
        let message = message();
        let stream = pieces > 0;
        match self {
            Self::Plain { prefix } => {
                let body = format!(
                    "{{\"model\":\"bench-{pieces}-{millis}\",\"messages\":[{{\"role\":\"user\",\"content\":\"{message}\"}}],\"stream\":{stream}}}"
                );
                http::post(&format!("{prefix}/openai/v1/chat/completions"), "", &body)
            }
            Self::Dialect { kind } => {
                let model = assistant(kind, pieces, millis);
                let body = format!(
                    "{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"{message}\"}}],\"stream\":{stream}}}"
                );
                http::post("/v1/chat/completions", &authorization(KEY), &body)
            }
            Self::Native { kind, store } => {
                let assistant = assistant(kind, pieces, millis);
                let body = format!(
                    "{{\"assistant\":\"{assistant}\",\"message\":\"{message}\",\"stream\":{stream},\"store\":{store}}}"
                );
                http::post("/v1/chat", &authorization(KEY), &body)
            }
        }
    }
}

impl Target {
    fn new(name: &str, address: SocketAddr, face: Face, stream: Asking) -> Self {
        let whole = stream.request(0, 0);
        let whole_text = format!("\"{}\"", crate::dialect::whole_text()).into_bytes();
        Self { name: name.to_owned(), address, face, whole, whole_text, stream }
    }

    /// The request for a stream.
    pub(crate) fn stream(&self, pieces: usize, millis: u64) -> Vec<u8> {
        self.stream.request(pieces, millis)
    }
}

/// The header that a key is sent in.
pub(crate) fn authorization(key: &str) -> String {
    format!("authorization: Bearer {key}\r\n")
}

/// The stand-in, as a process.
#[derive(Debug)]
pub(crate) struct Upstream {
    _process: Process,
    pub(crate) port: u16,
    /// The file of its authority, where it speaks TLS.
    authority: Option<PathBuf>,
}

impl Upstream {
    pub(crate) fn start(cores: &Cores) -> anyhow::Result<Self> {
        Self::start_with(cores, None)
    }

    /// The same over TLS, with a certificate of its own.
    pub(crate) fn start_with_tls(cores: &Cores, work: &Path) -> anyhow::Result<Self> {
        let folder = work.join("tls");
        tls::make(&folder)?;
        Self::start_with(cores, Some(&folder))
    }

    fn start_with(cores: &Cores, tls: Option<&Path>) -> anyhow::Result<Self> {
        let threads = cores.load_threads.to_string();
        let own = std::env::current_exe()?;
        let folder = tls.map(|folder| folder.display().to_string());
        let arguments: Vec<&str> = ["upstream", &threads].into_iter().chain(folder.as_deref()).collect();
        let mut process = Process::start(&own, &arguments, cores.load.as_deref(), |command| {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            Ok(())
        })?;
        let output = process.child().stdout.take().context("no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let authority = tls.map(|folder| folder.join(tls::CERTIFICATE));
        Ok(Self { _process: process, port: line.trim().parse()?, authority })
    }

    fn scheme(&self) -> &'static str {
        if self.authority.is_some() { "https" } else { "http" }
    }

    /// What nginx must know to believe it, as it believes what it proxies for others: sessions are taken up again on both sides.
    fn nginx_settings(&self) -> String {
        let Some(authority) = &self.authority else { return String::new() };
        format!(
            "    proxy_ssl_protocols TLSv1.2 TLSv1.3;\n    proxy_ssl_server_name on;\n    proxy_ssl_name {};\n    proxy_ssl_verify on;\n\
             \x20   proxy_ssl_trusted_certificate {};\n",
            tls::NAME,
            authority.display()
        )
    }

    /// What the gateway must know to believe it.
    fn gateway_settings(&self) -> String {
        self.authority.as_ref().map_or_else(String::new, |file| format!("ca_file = \"{}\"\n", file.display()))
    }

    /// Asked without anything between.
    pub(crate) fn target(&self) -> Target {
        let stream = Asking::Plain { prefix: "" };
        Target::new("direct", SocketAddr::from(([127, 0, 0, 1], self.port)), Face::Plain, stream)
    }
}

/// Something that stands before the upstream.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// From its start until it had answered a first request.
    pub(crate) start: Duration,
}

/// nginx as a plain reverse proxy. None where there is no nginx.
pub(crate) fn nginx(work: &Path, upstream: &Upstream, cores: &Cores) -> anyhow::Result<Option<Proxy>> {
    let Some(program) = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/bin/nginx"]
        .into_iter()
        .map(Path::new)
        .find(|path| path.exists())
    else {
        return Ok(None);
    };
    let directory = work.join("nginx");
    fs::create_dir_all(&directory)?;
    let (port, workers) = (free_port()?, cores.measured_threads);
    let (upstream, scheme, tls) = (upstream.port, upstream.scheme(), upstream.nginx_settings());
    let place = |name: &str| directory.join(name).display().to_string();
    let mut temporary = String::new();
    for name in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(temporary, "  {name}_temp_path {};", place(name))?;
    }
    let config = format!(
        "worker_processes {workers};\nworker_rlimit_nofile 65536;\npid {pid};\nerror_log {log} crit;\n\
         events {{ worker_connections 24576; multi_accept on; }}\nhttp {{\n  access_log off;\n  tcp_nodelay on;\n{temporary}\
         \x20 keepalive_requests 1000000000;\n  keepalive_timeout 600s;\n\
         \x20 upstream stand_in {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 1000000000; }}\n\
         \x20 server {{\n    listen 127.0.0.1:{port} backlog=4096;\n    proxy_http_version 1.1;\n    proxy_set_header Connection \"\";\n\
         \x20   proxy_read_timeout 600s;\n{tls}    location /whole/ {{ proxy_pass {scheme}://stand_in/; }}\n\
         \x20   location /stream/ {{ proxy_buffering off; proxy_pass {scheme}://stand_in/; }}\n  }}\n}}\n",
        pid = place("pid"),
        log = place("log"),
    );
    let file = directory.join("nginx.conf");
    fs::write(&file, config)?;
    let file = file.display().to_string();
    let prefix = directory.display().to_string();
    let arguments = ["-p", &prefix, "-c", &file, "-e", &place("log"), "-g", "daemon off;"];
    let began = Instant::now();
    let process = Process::start(program, &arguments, cores.measured.as_deref(), |_| Ok(()))?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut proxy = Proxy { process, address, start: Duration::ZERO };
    first_answer(&mut proxy, &nginx_target(address).whole)?;
    proxy.start = began.elapsed();
    Ok(Some(proxy))
}

/// nginx, asked for the upstream's own endpoint.
pub(crate) fn nginx_target(address: SocketAddr) -> Target {
    let mut target = Target::new("nginx", address, Face::Plain, Asking::Plain { prefix: "/stream" });
    target.whole = Asking::Plain { prefix: "/whole" }.request(0, 0);
    target
}

/// The file of the store, in the gateway's folder.
pub(crate) const STORE: &str = "store.db";

/// What is special about a gateway.
#[derive(Debug, Default)]
pub(crate) struct Setting {
    /// Where its store is, where that is not a new file.
    pub(crate) store: Option<String>,
    /// The file of the gateway before it is opened again.
    pub(crate) keeps_store: bool,
    /// Keys, each of a tenant of its own, beside the one that the load has.
    pub(crate) further_keys: usize,
}

/// One of the further keys.
pub(crate) fn further_key(number: usize) -> String {
    format!("a-further-key-of-the-benchmark-{number}")
}

/// Which streams a gateway's assistants must have: (pieces, milliseconds apart).
pub(crate) type Shapes = [(usize, u64)];

/// The gateway, with an assistant for each provider and shape.
pub(crate) fn gateway(
    binary: &Path,
    work: &Path,
    upstream: &Upstream,
    cores: &Cores,
    shapes: &Shapes,
    setting: &Setting,
) -> anyhow::Result<Proxy> {
    let directory = work.join("gateway");
    if !setting.keeps_store {
        let _ = fs::remove_dir_all(&directory);
    }
    fs::create_dir_all(&directory)?;
    let url = setting.store.clone().unwrap_or_else(|| format!("sqlite:{}", directory.join(STORE).display()));
    let (port, admin) = (free_port()?, free_port()?);
    let mut config = format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\nadmin_listen = \"127.0.0.1:{admin}\"\n[storage]\nurl = \"{url}\"\n\
         [defaults]\nmax_concurrency = 100000\n[[keys]]\nname = \"load\"\nsecret = \"{KEY}\"\nrequests_per_minute = 10000000\n\
         burst = 10000000\nconcurrent_turns = 1000000\n"
    );
    for number in 0..setting.further_keys {
        writeln!(
            config,
            "[[keys]]\nname = \"load-{number}\"\nsecret = \"{}\"\ntenant = \"tenant-{number}\"",
            further_key(number)
        )?;
    }
    for dialect in &DIALECTS {
        let (kind, settings) = (dialect.kind, dialect.settings);
        let version = if kind == "openai" { "/v1" } else { "" };
        writeln!(
            config,
            "[providers.{kind}]\nkind = \"{kind}\"\nbase_url = \"{}://127.0.0.1:{}/{kind}{version}\"\napi_key = \"sim-key\"\n{}{settings}",
            upstream.scheme(),
            upstream.port,
            upstream.gateway_settings()
        )?;
        for (pieces, millis) in std::iter::once(&(0, 0)).chain(shapes) {
            let name = assistant(kind, *pieces, *millis);
            writeln!(
                config,
                "[assistants.{name}]\nprovider = \"{kind}\"\nupstream_id = \"bench-{pieces}-{millis}\""
            )?;
        }
    }
    // In a folder of its own: the gateway watches the folder of its configuration, and is not to wake for what it writes itself.
    let folder = directory.join("config");
    fs::create_dir_all(&folder)?;
    let file = folder.join("switchboard.toml");
    fs::write(&file, config)?;
    let file = file.display().to_string();
    let log = fs::File::create(directory.join("log"))?;
    let began = Instant::now();
    let process =
        Process::start(binary, &["serve", "--config", &file], cores.measured.as_deref(), |command| {
            command.stdout(Stdio::null()).stderr(log);
            Ok(())
        })?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut proxy = Proxy { process, address, start: Duration::ZERO };
    first_answer(&mut proxy, &dialect_target(address).whole)?;
    proxy.start = began.elapsed();
    Ok(proxy)
}

/// The gateway, asked for one provider's assistants through its own API.
pub(crate) fn native_target(address: SocketAddr, kind: &'static str, store: bool) -> Target {
    let name = if store { "gateway (stored)" } else { "gateway (native)" };
    Target::new(name, address, Face::Gateway, Asking::Native { kind, store })
}

/// The gateway, asked in the same words as nginx.
pub(crate) fn dialect_target(address: SocketAddr) -> Target {
    Target::new("gateway", address, Face::Plain, Asking::Dialect { kind: "openai" })
}

/// The gateway in each of the ways that it can be asked.
pub(crate) fn gateway_targets(address: SocketAddr) -> [Target; 3] {
    [dialect_target(address), native_target(address, "openai", false), native_target(address, "openai", true)]
}

fn assistant(kind: &str, pieces: usize, millis: u64) -> String {
    format!("{kind}-{pieces}-{millis}")
}

/// A port that nobody has now.
fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits until a request is answered with 200.
fn first_answer(proxy: &mut Proxy, request: &[u8]) -> anyhow::Result<()> {
    let until = Instant::now() + START_MAX;
    loop {
        if let Ok(mut socket) = TcpStream::connect(proxy.address) {
            socket.set_read_timeout(Some(START_MAX))?;
            socket.write_all(request)?;
            let mut answer = [0; 12];
            socket.read_exact(&mut answer)?;
            if !answer.ends_with(b"200") {
                let mut rest = vec![0; 2048];
                let count = socket.read(&mut rest).unwrap_or(0);
                rest.truncate(count);
                bail!("{}{}", String::from_utf8_lossy(&answer), String::from_utf8_lossy(&rest));
            }
            return Ok(());
        }
        if Instant::now() > until || !proxy.process.is_alive() {
            bail!("it does not start");
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}
