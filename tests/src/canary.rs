//! An app on the host whose requests and answers nobody on the way may read.

use std::ffi::OsString;

use crate::host::PATIENCE;
use crate::{Machines, Running, program};

/// What stands in a header of each request.
pub const ASKED: &str = "canary-in-the-request";
/// What the body of each request consists of.
pub const SENT: &str = "canary-in-the-upload";
/// What stands in a header of each answer.
pub const TOLD: &str = "canary-in-the-reply";
/// What the body of each answer consists of.
pub const ANSWERED: &str = "canary-in-the-answer";
/// What stands in the path of each request.
pub const PATH: &str = "canary-in-the-path";
/// Where the app is, on the host.
pub const UPSTREAM: &str = "http://127.0.0.1:3000";

/// Answers with the name by which the host calls the device, and with the canaries, that of the body over and over, below
/// `/endless` without an end. Nothing else of the request is in the answer, so that what is found in one direction was
/// sent in that direction.
const APP: &str = r#"
import http.server, sys, time
class App(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("X-Canary", "canary-in-the-reply")
        self.end_headers()
        self.wfile.write((self.headers.get("X-Couplet-Device-Name", "nobody") + "\n").encode())
        endless = self.path.startswith("/endless")
        for n in range(1000000000 if endless else 1000):
            self.wfile.write(b"canary-in-the-answer\n")
            if endless:
                time.sleep(0.05)
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 3000), App)
print("ready", flush=True)
server.serve_forever()
"#;

/// Starts it on the host, at [`UPSTREAM`].
pub async fn start(machines: &Machines) -> Running {
    let app = Running::start(machines.near().exec(&python(), &["-c", APP]));
    app.wait_for_line(PATIENCE, |line| line == "ready").await;
    app
}

/// `curl` on the laptop, which asks the forwarder at port 7890 for this.
#[must_use]
pub fn curl(machines: &Machines, path: &str) -> Running {
    let curl = program::path().join("curl");
    let (header, body) = (format!("X-Canary: {}", ASKED.repeat(20)), SENT.repeat(20));
    let url = format!("http://127.0.0.1:7890{path}?{PATH}");
    let args = ["-q", "-sSN", "-H", &header, "-H", "Content-Type: text/plain", "--data-binary", &body, &url];
    Running::start(machines.far().exec(curl.as_os_str(), &args))
}

/// Whether the laptop's programs get the app's answer.
pub async fn works(machines: &Machines) -> bool {
    let answer = curl(machines, "/").succeeds(2 * PATIENCE).await;
    answer.lines().filter(|line| *line == ANSWERED).count() == 1000
}

/// Whether this is among them.
#[must_use]
pub fn holds(bytes: &[u8], canary: &str) -> bool {
    bytes.windows(canary.len()).any(|bytes| bytes == canary.as_bytes())
}

fn python() -> OsString {
    program::path().join("python3").into_os_string()
}
