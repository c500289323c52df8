//! `qwenc serve` as browsers meet it: over a socket, byte by byte.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use qwenc::serve::{ServeError, Server};
use qwenc_runtime::bundle::sha256_hex;

/// A folder with what a bundle has, of every kind that is served differently.
struct Bundle {
    dir: tempfile::TempDir,
    shard: String,
}

const PAGE: &str = "<!doctype html><title>page</title>";

fn weights() -> Vec<u8> {
    (0..100_000u32).map(|i| u8::try_from((i * 7 + (i >> 8)) & 255).unwrap()).collect()
}

impl Bundle {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let shard = format!("weights/{}.safetensors", &sha256_hex(&weights())[..16]);
        let bundle = Self { dir, shard: shard.clone() };
        bundle.put("index.html", PAGE.as_bytes());
        bundle.put("web/page/index.html", b"inner");
        bundle.put("web/app.js", "export const answer = 42;\n".repeat(200).as_bytes());
        bundle.put("web/engine.wasm", &[0u8; 5000]);
        bundle.put(&shard, &weights());
        bundle.put(".hidden", b"secret");
        let files: Vec<serde_json::Value> = ["index.html", "web/app.js", shard.as_str()]
            .iter()
            .map(|path| {
                let bytes = std::fs::read(bundle.path().join(path)).unwrap();
                serde_json::json!({"path": path, "bytes": bytes.len(), "sha256": sha256_hex(&bytes)})
            })
            .collect();
        let manifest = serde_json::json!({"format": 1, "generator": "qwenc test", "files": files});
        bundle.put("manifest.json", manifest.to_string().as_bytes());
        bundle
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// A server that runs as long as this is there.
struct Running {
    address: SocketAddr,
    stop: Box<dyn Fn() + Send + Sync>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn new(bundle: &Bundle) -> Self {
        Self::allowing(bundle, None)
    }

    fn allowing(bundle: &Bundle, origin: Option<&str>) -> Self {
        let server = Server::bind(bundle.path(), "127.0.0.1", 0, origin.map(str::to_owned)).unwrap();
        let address = server.address();
        let stop = Box::new(server.stopper());
        let thread = Some(std::thread::spawn(move || server.run().unwrap()));
        Self { address, stop, thread }
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        ask(self.address, "GET", path, headers)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        (self.stop)();
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// One request on a connection of its own; the path goes out as it is.
fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = Vec::new();
    reader.read_to_end(&mut body).unwrap();
    assert!(!headers.contains_key("transfer-encoding"), "a length is needed for progress");
    Answer { status, headers, body }
}

#[test]
fn every_file_has_its_type_and_lifetime() {
    let bundle = Bundle::new();
    let server = Running::new(&bundle);
    for (path, mime, cache) in [
        ("/", "text/html; charset=utf-8", "no-cache"),
        ("/index.html", "text/html; charset=utf-8", "no-cache"),
        ("/manifest.json", "application/json", "no-cache"),
        ("/web/app.js?v=2", "text/javascript; charset=utf-8", "no-cache"),
        ("/web/engine.wasm", "application/wasm", "no-cache"),
        (&format!("/{}", bundle.shard), "application/octet-stream", "public, max-age=31536000, immutable"),
    ] {
        let answer = server.get(path, &[]);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), mime, "{path}");
        assert_eq!(answer.header("cache-control"), cache, "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("access-control-allow-origin"), "");
        assert_eq!(answer.header("content-length").parse::<usize>().unwrap(), answer.body.len(), "{path}");
    }
    assert_eq!(server.get("/", &[]).body, PAGE.as_bytes());
    assert_eq!(server.get(&format!("/{}", bundle.shard), &[]).body, weights());
}

#[test]
fn a_download_goes_on_where_it_was_cut() {
    let bundle = Bundle::new();
    let server = Running::new(&bundle);
    let shard = format!("/{}", bundle.shard);
    let whole = server.get(&shard, &[]);
    let tag = whole.header("etag").to_owned();
    assert_eq!(tag, format!("\"{}\"", sha256_hex(&weights())));

    let rest = server.get(&shard, &[("Range", "bytes=70000-"), ("If-Range", &tag)]);
    assert_eq!((rest.status, rest.body.as_slice()), (206, &weights()[70_000..]));
    assert_eq!(rest.header("content-range"), "bytes 70000-99999/100000");
    let middle = server.get(&shard, &[("range", "bytes=10-19")]);
    assert_eq!((middle.status, middle.body.as_slice()), (206, &weights()[10..20]));
    // Of another version of the file a part is worth nothing.
    let changed = server.get(&shard, &[("Range", "bytes=70000-"), ("If-Range", "\"other\"")]);
    assert_eq!((changed.status, changed.body.len()), (200, 100_000));
    let beyond = server.get(&shard, &[("Range", "bytes=100000-")]);
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */100000"));
}

#[test]
fn what_is_known_is_not_sent_again() {
    let bundle = Bundle::new();
    let server = Running::new(&bundle);
    let tag = server.get("/", &[]).header("etag").to_owned();
    let known = server.get("/", &[("If-None-Match", &tag)]);
    assert_eq!((known.status, known.body.len(), known.header("etag")), (304, 0, tag.as_str()));
    // A file that the manifest does not list has a tag of its own, which changes with it.
    let tag = server.get("/web/engine.wasm", &[]).header("etag").to_owned();
    assert_eq!(server.get("/web/engine.wasm", &[("If-None-Match", &tag)]).status, 304);
    bundle.put("web/engine.wasm", &[1u8; 5001]);
    assert_eq!(server.get("/web/engine.wasm", &[("If-None-Match", &tag)]).status, 200);
}

#[test]
fn text_is_compressed_for_whoever_takes_it() {
    let bundle = Bundle::new();
    let server = Running::new(&bundle);
    let plain = server.get("/web/app.js", &[]);
    let small = server.get("/web/app.js", &[("Accept-Encoding", "gzip, br")]);
    assert_eq!((plain.header("content-encoding"), small.header("content-encoding")), ("", "br"));
    assert_eq!((plain.header("vary"), small.header("vary")), ("Accept-Encoding", "Accept-Encoding"));
    assert_ne!(plain.header("etag"), small.header("etag"));
    assert!(small.body.len() * 10 < plain.body.len());
    let mut out = Vec::new();
    brotli::BrotliDecompress(&mut small.body.as_slice(), &mut out).unwrap();
    assert_eq!(out, plain.body);
    let tag = small.header("etag").to_owned();
    let known = server.get("/web/app.js", &[("Accept-Encoding", "br"), ("If-None-Match", &tag)]);
    assert_eq!(known.status, 304);
    // Bytes of a range are those of the file.
    let part = server.get("/web/app.js", &[("Accept-Encoding", "br"), ("Range", "bytes=0-5")]);
    assert_eq!(
        (part.status, part.header("content-encoding"), part.body.as_slice()),
        (206, "", b"export".as_slice())
    );
    let shard = server.get(&format!("/{}", bundle.shard), &[("Accept-Encoding", "br")]);
    assert_eq!(shard.header("content-encoding"), "");
}

#[test]
fn nothing_outside_of_the_folder_is_served() {
    let bundle = Bundle::new();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret.txt"), "secret").unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(outside.path().join("secret.txt"), bundle.path().join("link.txt"))
            .unwrap();
        std::os::unix::fs::symlink(outside.path(), bundle.path().join("linked")).unwrap();
        std::fs::hard_link(outside.path().join("secret.txt"), bundle.path().join("hard.txt")).unwrap();
    }
    let server = Running::new(&bundle);
    let name = outside.path().file_name().unwrap().to_str().unwrap().to_owned();
    for path in [
        format!("/../{name}/secret.txt"),
        format!("/%2e%2e/{name}/secret.txt"),
        format!("/web/..%2f..%2f{name}/secret.txt"),
        format!("/..%5c{name}/secret.txt"),
        format!("/{}/secret.txt", outside.path().display()),
        "/link.txt".to_owned(),
        "/linked/secret.txt".to_owned(),
        "/hard.txt".to_owned(),
        "/.hidden".to_owned(),
        "/missing".to_owned(),
        "/index.html/x".to_owned(),
    ] {
        let answer = server.get(&path, &[]);
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
        assert!(!answer.body.windows(6).any(|window| window == b"secret"), "{path}");
    }
}

#[test]
fn methods_and_folders() {
    let bundle = Bundle::new();
    let server = Running::new(&bundle);
    let head = ask(server.address, "HEAD", &format!("/{}", bundle.shard), &[]);
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "100000", 0));
    let post = ask(server.address, "POST", "/", &[("Content-Length", "0")]);
    assert_eq!((post.status, post.header("allow")), (405, "GET, HEAD"));
    let folder = server.get("/web/page", &[]);
    assert_eq!((folder.status, folder.header("location")), (301, "./page/"));
    assert_eq!(server.get("/web/page/", &[]).body, b"inner");
    assert_eq!(server.get("/web/", &[]).status, 404);
}

#[test]
fn other_origins_are_let_in_on_request_alone() {
    let bundle = Bundle::new();
    let server = Running::allowing(&bundle, Some("http://localhost:5173"));
    let answer = server.get("/manifest.json", &[]);
    assert_eq!(answer.header("access-control-allow-origin"), "http://localhost:5173");
    let asked = ask(server.address, "OPTIONS", "/manifest.json", &[]);
    assert_eq!((asked.status, asked.header("access-control-allow-headers")), (204, "Range, If-Range"));
}

#[test]
fn a_bundle_without_a_page_says_how_to_get_one() {
    let bundle = Bundle::new();
    std::fs::remove_file(bundle.path().join("index.html")).unwrap();
    let server = Running::new(&bundle);
    let answer = server.get("/", &[]);
    assert_eq!(answer.status, 404);
    assert!(String::from_utf8(answer.body).unwrap().contains("--no-web"));
}

#[test]
fn a_folder_without_a_bundle_and_a_taken_port_are_refused() {
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(Server::bind(empty.path(), "127.0.0.1", 0, None), Err(ServeError::NotABundle(_))));
    let bundle = Bundle::new();
    let first = Server::bind(bundle.path(), "127.0.0.1", 0, None).unwrap();
    let second = Server::bind(bundle.path(), "127.0.0.1", first.address().port(), None);
    assert!(matches!(second, Err(ServeError::Listen { .. })));
}

#[test]
fn the_program_prints_its_address() {
    let bundle = Bundle::new();
    let mut child = Command::new(PathBuf::from(env!("CARGO_BIN_EXE_qwenc")))
        .arg("serve")
        .arg(bundle.path())
        .args(["--port", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port =
        line.trim().strip_suffix('/').and_then(|line| line.rsplit_once(":")).map(|(_, port)| port.to_owned());
    let status = port
        .as_deref()
        .and_then(|port| port.parse().ok())
        .map(|port: u16| ask(SocketAddr::from(([127, 0, 0, 1], port)), "GET", "/", &[]).status);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(status, Some(200), "{line}");
}
