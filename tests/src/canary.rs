//! An app on the host whose requests and answers nobody on the way may read.

use std::ffi::OsString;

use crate::host::PATIENCE;
use crate::{Machines, Running, program};

/// What stands in each request.
pub const ASKED: &str = "canary-in-the-request";
/// What each answer consists of.
pub const ANSWERED: &str = "canary-in-the-answer";
/// What stands in the path of each request.
pub const PATH: &str = "canary-in-the-path";
/// Where the app is, on the host.
pub const UPSTREAM: &str = "http://127.0.0.1:3000";

/// Answers with what it was asked and by whom, which goes masked and compressed on the way there, and with the canary, over and over; below `/endless` without an end.
const APP: &str = r#"
import http.server, sys, time
class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        asked = [self.headers.get("X-Couplet-Device-Name", "nobody"), self.path, self.headers.get("X-Canary", "")]
        self.wfile.write("\n".join(asked + [""]).encode())
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
    let header = format!("X-Canary: {}", ASKED.repeat(20));
    let url = format!("http://127.0.0.1:7890{path}?{PATH}");
    Running::start(machines.far().exec(curl.as_os_str(), &["-q", "-sSN", "-H", &header, &url]))
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
