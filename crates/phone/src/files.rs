//! The files of `packages/phone/dist`, which are committed: building this needs no npm.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::HeaderValue;

/// A file as it is served.
#[derive(Debug)]
pub(crate) struct File {
    content_type: &'static str,
    bytes: Bytes,
    tag: HeaderValue,
}

impl File {
    pub(crate) fn new(content_type: &'static str, bytes: Bytes) -> Self {
        let hash = HEXLOWER.encode(&digest(&SHA256, &bytes).as_ref()[..16]);
        // Hex is visible ASCII.
        let tag = HeaderValue::from_str(&format!("\"{hash}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""));
        File { content_type, bytes, tag }
    }

    pub(crate) fn content_type(&self) -> &'static str {
        self.content_type
    }

    pub(crate) fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The `ETag`: other bytes have another.
    pub(crate) fn tag(&self) -> &HeaderValue {
        &self.tag
    }
}

/// A folder of `dist`.
#[derive(Debug)]
pub(crate) struct Folder(Vec<(&'static str, File)>);

macro_rules! folder {
    ($folder:literal, $($name:literal),+ $(,)?) => {
        Folder(vec![$({
            let bytes = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../packages/phone/dist/", $folder, "/", $name));
            ($name, File::new(content_type($name), Bytes::from_static(bytes)))
        }),+])
    };
}

impl Folder {
    /// The client's pages.
    pub(crate) fn client() -> Self {
        folder!(
            "client",
            "index.html",
            "phone.js",
            "phone.css",
            "worker.js",
            "manifest.webmanifest",
            "icon.svg",
            "icon-192.png",
            "icon-512.png",
            "icon-maskable-512.png",
        )
    }

    /// What stands on the origin of each app.
    pub(crate) fn app() -> Self {
        folder!("app", "keeper.html", "keeper.js", "worker.js", "shim.js", "stray.html", "stray.js", "page.css")
    }

    pub(crate) fn find(&self, name: &str) -> Option<&File> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, file)| file)
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_dist_is_served() {
        for (name, folder) in [("client", Folder::client()), ("app", Folder::app())] {
            let dist = format!("{}/../../packages/phone/dist/{name}", env!("CARGO_MANIFEST_DIR"));
            let mut built: Vec<String> = std::fs::read_dir(dist)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            let mut served: Vec<&str> = folder.0.iter().map(|(name, _)| *name).collect();
            built.sort();
            served.sort_unstable();
            assert_eq!(served, built);
            assert!(folder.0.iter().all(|(_, file)| file.content_type != "application/octet-stream"));
        }
    }
}
