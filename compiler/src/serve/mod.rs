//! `qwenc serve`: a small HTTP server of one folder, as a bundle wants to be served.
//!
//! Files get their right types, validators and lifetimes: what is named by its content's hash never changes and is kept
//! for ever, everything else is asked for again and answered with `304` while it is the same. Ranges are served, so that a
//! download goes on where it was cut. Text and WebAssembly are compressed with brotli for whoever takes it; weights do
//! not shrink, and are sent as they are.
//!
//! Only regular files inside of the folder are served ([`contain`](crate::contain)): no `..`, no links out, and nothing
//! whose name begins with a dot.

mod compress;
mod conditions;
mod files;
mod target;

use std::io::{self, Read, Seek, SeekFrom};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tiny_http::{Header, Method, Request, Response, StatusCode};

use compress::Compressed;
use conditions::{Selection, accepts_brotli, is_known, range};
use files::{Found, Listing};

/// Requests that are answered at the same time; each has a thread. A browser opens six connections.
const MAX_REQUESTS: usize = 64;

/// The server cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is no bundle.
    #[error("`{}` is no qwenc bundle: it has no manifest.json of one", .0.display())]
    NotABundle(PathBuf),
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}: {message}")]
    Listen {
        /// Host and port.
        address: String,
        /// What the system said.
        message: String,
    },
}

/// A server that listens, and answers once it [runs](Server::run).
pub struct Server {
    http: Arc<tiny_http::Server>,
    site: Arc<Site>,
    address: SocketAddr,
}

/// What is served.
struct Site {
    folder: PathBuf,
    listing: Listing,
    compressed: Compressed,
    allow_origin: Option<String>,
}

impl Server {
    /// Listens on `host`:`port` (0 takes a free port) for requests of the bundle in `folder`. `allow_origin` is the value
    /// of `Access-Control-Allow-Origin`, for pages that another server has.
    ///
    /// # Errors
    /// When `folder` has no bundle, or the address cannot be had.
    pub fn bind(
        folder: &Path,
        host: &str,
        port: u16,
        allow_origin: Option<String>,
    ) -> Result<Self, ServeError> {
        let listing = Listing::default();
        if listing.read(folder).is_none() {
            return Err(ServeError::NotABundle(folder.to_path_buf()));
        }
        let failed = |message: String| ServeError::Listen { address: format!("{host}:{port}"), message };
        let addresses: Vec<SocketAddr> =
            (host, port).to_socket_addrs().map_err(|error| failed(error.to_string()))?.collect();
        let listener =
            std::net::TcpListener::bind(addresses.as_slice()).map_err(|error| failed(error.to_string()))?;
        let address = listener.local_addr().map_err(|error| failed(error.to_string()))?;
        let http =
            tiny_http::Server::from_listener(listener, None).map_err(|error| failed(error.to_string()))?;
        let site =
            Site { folder: folder.to_path_buf(), listing, compressed: Compressed::default(), allow_origin };
        Ok(Self { http: Arc::new(http), site: Arc::new(site), address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the bundle has a page to show.
    #[must_use]
    pub fn has_page(&self) -> bool {
        crate::contain::open(&self.site.folder, target::INDEX).is_ok()
    }

    /// What ends [`Server::run`], from another thread.
    pub fn stopper(&self) -> impl Fn() + Send + Sync + use<> {
        let http = Arc::clone(&self.http);
        move || http.unblock()
    }

    /// Answers until it is stopped.
    ///
    /// # Errors
    /// When the socket breaks.
    pub fn run(&self) -> io::Result<()> {
        let busy = Arc::new(AtomicUsize::new(0));
        while let Some(request) = next(&self.http)? {
            let site = Arc::clone(&self.site);
            let busy = Arc::clone(&busy);
            if busy.fetch_add(1, Ordering::SeqCst) >= MAX_REQUESTS {
                busy.fetch_sub(1, Ordering::SeqCst);
                // The client may be gone: there is nobody to tell.
                let _ = request.respond(problem(503, "Too many requests at once."));
                continue;
            }
            std::thread::spawn(move || {
                // A client that has gone away is no fault.
                let _ = site.answer(request);
                busy.fetch_sub(1, Ordering::SeqCst);
            });
        }
        Ok(())
    }
}

/// The next request; `None` when the server was stopped.
fn next(http: &tiny_http::Server) -> io::Result<Option<Request>> {
    match http.recv() {
        Ok(request) => Ok(Some(request)),
        // `unblock` is told as an error of kind Other.
        Err(error) if error.kind() == io::ErrorKind::Other => Ok(None),
        Err(error) => Err(error),
    }
}

/// A response's body.
type Body = Box<dyn Read + Send>;

impl Site {
    fn answer(&self, request: Request) -> io::Result<()> {
        let mut response = self.response(&request);
        if let Some(origin) = &self.allow_origin {
            response.add_header(header("Access-Control-Allow-Origin", origin));
            response.add_header(header("Access-Control-Allow-Headers", "Range, If-Range"));
            response.add_header(header("Access-Control-Expose-Headers", "Content-Range, ETag"));
        }
        response.add_header(header("X-Content-Type-Options", "nosniff"));
        request.respond(response)
    }

    fn response(&self, request: &Request) -> Response<Body> {
        match request.method() {
            Method::Get | Method::Head => {}
            // What a browser asks before it sends a range to another origin.
            Method::Options if self.allow_origin.is_some() => return empty(204),
            _ => {
                let mut response = problem(405, "Only GET and HEAD are answered here.");
                response.add_header(header("Allow", "GET, HEAD"));
                return response;
            }
        }
        let Some(path) = target::path(request.url()) else {
            return problem(400, "This is no plain path.");
        };
        match files::find(&self.folder, &path, &self.listing) {
            Found::File(file) => self.file(request, file),
            Found::Folder => {
                let mut response = empty(301);
                let name = path.rsplit('/').next().unwrap_or_default();
                // Relative, so that it is right behind a proxy that puts the folder elsewhere.
                response.add_header(header("Location", &format!("./{}/", target::encode(name))));
                response
            }
            Found::Nothing if path == target::INDEX => problem(
                404,
                "This bundle has no page: compile it with a qwenc that was built with the web runtime, without --no-web.",
            ),
            Found::Nothing => problem(404, "There is no such file."),
        }
    }

    fn file(&self, request: &Request, mut file: files::File) -> Response<Body> {
        let value = |name: &str| {
            let wanted = request
                .headers()
                .iter()
                .find(|header| header.field.as_str().as_str().eq_ignore_ascii_case(name));
            wanted.map(|header| header.value.as_str())
        };
        let asked_range = value("Range");
        let brotli = file.compressible
            && asked_range.is_none()
            && value("Accept-Encoding").is_some_and(accepts_brotli);
        // Another representation has another tag.
        let tag = if brotli { format!("\"{}-br\"", file.tag) } else { format!("\"{}\"", file.tag) };
        let mut headers = vec![
            header("Content-Type", file.mime),
            header("ETag", &tag),
            header(
                "Cache-Control",
                if file.immutable { "public, max-age=31536000, immutable" } else { "no-cache" },
            ),
            header("Accept-Ranges", "bytes"),
        ];
        if file.compressible {
            headers.push(header("Vary", "Accept-Encoding"));
        }
        if value("If-None-Match").is_some_and(|tags| is_known(tags, &tag)) {
            return Response::new(StatusCode(304), headers, Box::new(io::empty()), Some(0), None);
        }
        if brotli {
            return match self.compressed.get(&tag, &mut file) {
                Ok(bytes) => {
                    headers.push(header("Content-Encoding", "br"));
                    let length = bytes.len();
                    let body: Body = Box::new(io::Cursor::new(ArcBytes(bytes)));
                    sized(200, headers, body, length as u64)
                }
                Err(error) => problem(500, &error.to_string()),
            };
        }
        let selection = match asked_range {
            Some(asked) if value("If-Range").is_none_or(|known| known.trim() == tag) => {
                range(asked, file.bytes)
            }
            _ => Selection::Whole,
        };
        match selection {
            Selection::Whole => {
                let length = file.bytes;
                sized(200, headers, Box::new(file.handle.take(length)), length)
            }
            Selection::Part { from, length } => {
                if let Err(error) = file.handle.seek(SeekFrom::Start(from)) {
                    return problem(500, &error.to_string());
                }
                headers.push(header(
                    "Content-Range",
                    &format!("bytes {from}-{}/{}", from + length - 1, file.bytes),
                ));
                sized(206, headers, Box::new(file.handle.take(length)), length)
            }
            Selection::Outside => {
                let mut response = problem(416, "The file has no such bytes.");
                response.add_header(header("Content-Range", &format!("bytes */{}", file.bytes)));
                response
            }
        }
    }
}

/// Shared bytes as a cursor wants them.
struct ArcBytes(Arc<[u8]>);

impl AsRef<[u8]> for ArcBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn sized(status: u16, headers: Vec<Header>, body: Body, bytes: u64) -> Response<Body> {
    let length = usize::try_from(bytes).ok();
    // With a length always: progress needs it, and chunks would have none.
    Response::new(StatusCode(status), headers, body, length, None).with_chunked_threshold(usize::MAX)
}

fn empty(status: u16) -> Response<Body> {
    Response::new(StatusCode(status), Vec::new(), Box::new(io::empty()), Some(0), None)
}

fn problem(status: u16, words: &str) -> Response<Body> {
    let text = format!("{words}\n").into_bytes();
    let length = text.len() as u64;
    let headers =
        vec![header("Content-Type", "text/plain; charset=utf-8"), header("Cache-Control", "no-store")];
    sized(status, headers, Box::new(io::Cursor::new(text)), length)
}

/// A header of our own making: names are constants, and what of a value is not printable ASCII is left out.
fn header(name: &'static str, value: &str) -> Header {
    let safe: String = value.chars().filter(|c| matches!(c, ' '..='~')).collect();
    Header::from_bytes(name, safe).expect("a header asks for no more than ASCII")
}
