//! A browser without a screen, for pages: Chromium, by WebDriver.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use fantoccini::{Client, ClientBuilder, Locator, wd::Capabilities};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;

use crate::servers::{free_address, skipped};

/// How long a page may take to change.
const PATIENCE: Duration = Duration::from_secs(30);

/// A browser and its driver, which end with it.
pub struct Browser {
    driver: Child,
    client: Client,
}

/// A page that is open.
pub struct Page<'a>(&'a Client);

impl Browser {
    /// Starts one; none, and a line that says so, where there is none.
    pub async fn start() -> Option<Self> {
        let port = free_address().port();
        let started = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // The browser is in its group, and ends with it.
            .process_group(0)
            .spawn();
        let Ok(mut driver) = started else {
            return skipped("chromedriver", "apt install chromium chromium-driver");
        };
        let lines = BufReader::new(driver.stdout.take().expect("piped")).lines();
        lines
            .map_while(Result::ok)
            .find(|line| line.contains("started successfully"))
            .expect("it starts");
        let mut capabilities = Capabilities::new();
        // The tests may run as root, where Chromium has no sandbox of its own.
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
        capabilities.insert("goog:chromeOptions".to_owned(), json!({ "args": arguments }));
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("a session");
        Some(Self { driver, client })
    }

    /// Opens `url`.
    pub async fn open(&self, url: &str) -> Page<'_> {
        self.client.goto(url).await.expect("the page");
        Page(&self.client)
    }

    /// Closes its window.
    pub async fn close(self) {
        self.client.clone().close().await.expect("closed");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.driver.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.driver.wait();
    }
}

impl Page<'_> {
    /// Types `text` in place of what is in the field at `selector`, once it is there.
    pub async fn fill(&self, selector: &str, text: &str) {
        let field = self.visible(selector).await;
        field.clear().await.expect("cleared");
        field.send_keys(text).await.expect("typed");
    }

    /// Clicks on what is at `selector`, once it is there.
    pub async fn click(&self, selector: &str) {
        self.visible(selector).await.click().await.expect("clicked");
    }

    /// Waits until what is at `selector` shows `text`.
    pub async fn wait_for_text(&self, selector: &str, text: &str) {
        let shows = async {
            loop {
                let element = self.visible(selector).await;
                // It may be replaced while it is looked at.
                if element.text().await.is_ok_and(|shown| shown.contains(text)) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(PATIENCE, shows).await.is_err() {
            let page = self.0.source().await.unwrap_or_default();
            panic!("{selector} does not show {text:?}:\n{page}");
        }
    }

    async fn visible(&self, selector: &str) -> fantoccini::elements::Element {
        let locator = Locator::Css(selector);
        let wait = self.0.wait().at_most(PATIENCE);
        let element = wait.for_element(locator).await.expect("it is on the page");
        let shown = async {
            while !element.is_displayed().await.unwrap_or(false) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, shown).await.expect("it is shown");
        element
    }
}
