//! JupyterLab in a browser, as a person uses it.

use std::path::Path;

use serde_json::json;
use thirtyfour::{By, Key};

use crate::Browser;

/// A page with a notebook.
#[derive(Debug)]
pub struct Lab<'a> {
    browser: &'a Browser,
}

impl<'a> Lab<'a> {
    /// Opens the page at this address, and a new notebook, and waits until its kernel is there.
    pub async fn open(browser: &'a Browser, url: &str) -> Self {
        browser.open(&format!("{url}/lab")).await;
        browser.click(".jp-LauncherCard[data-category=Notebook]").await;
        // The status bar has the kernel's name only once there is one.
        browser.says("Python 3 (ipykernel) | Idle").await;
        Lab { browser }
    }

    /// Types code into the current cell, and runs it; the next one is then the current one.
    pub async fn run(&self, code: &str) {
        self.browser.click(".jp-Notebook .jp-Cell.jp-mod-active .cm-content").await;
        self.browser.press(code).await;
        self.browser.press(Key::Shift + Key::Enter).await;
    }

    /// Waits until a cell of the notebook has this result.
    pub async fn has_result(&self, result: &str) {
        let results = "[...document.querySelectorAll('.jp-OutputArea-output')]";
        self.browser.holds(&format!("{results}.some(output => output.innerText.trim() === {})", json!(result))).await;
    }

    /// Waits until it says that its server is gone, and has it say so no more.
    pub async fn is_lost(&self) {
        self.browser.click(".jp-Dialog input[type=checkbox]").await;
        self.browser.click(".jp-Dialog-footer button").await;
    }

    /// Uploads a file of the browser's machine by the button for it, and waits until it is in the list.
    pub async fn upload(&self, file: &Path) {
        // The button makes the browser ask for a file; a test answers where the page can be seen to ask.
        let asks = "HTMLInputElement.prototype.click = function () { this.id = 'asks'; document.body.append(this) }";
        self.browser.run(asks, json!(null)).await;
        self.browser.click(".jp-id-upload, [data-jp-item-name=uploader]").await;
        let asks = self.browser.driver().find(By::Id("asks")).await.unwrap();
        asks.send_keys(file.to_str().expect("tests have plain paths")).await.unwrap();
        self.browser.shows(&listed(file.file_name().unwrap().to_str().unwrap())).await;
    }

    /// Downloads a file of the list by its menu.
    pub async fn download(&self, name: &str) -> Vec<u8> {
        let file = self.browser.shows(&listed(name)).await;
        self.browser.driver().action_chain().context_click_element(&file).perform().await.unwrap();
        self.browser.click(".lm-Menu-item[data-command='filebrowser:download']").await;
        self.browser.downloaded(name).await
    }
}

fn listed(name: &str) -> String {
    format!(".jp-DirListing-item[title^='Name: {name}']")
}
