//! The page in a real browser, where one is found: Chromium, or the program that `YOLOSLIM_CHROMIUM` names.
use super::served::Served;
use std::process::{Command, Stdio};

/// The page's document after a few seconds in a browser; none where there is no browser.
fn seen(served: &Served, language: &str) -> Option<String> {
    let program = std::env::var("YOLOSLIM_CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
    let profile = tempfile::tempdir().expect("a folder");
    let output = Command::new(program)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--dump-dom", "--virtual-time-budget=6000", "--enable-logging=stderr"])
        .arg(format!("--accept-lang={language}"))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{}/", served.address))
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        println!("skipped: no chromium");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    // Scripts that fail and what the policy blocks are told there.
    let complaints: Vec<&str> = said.lines().filter(|line| line.contains(":CONSOLE")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn page_in_a_browser_shows_sources_in_both_languages() {
    let served = Served::with_source();
    served.until("/readyz", 200);
    for (language, live, dropped) in
        [("en-US", ">live<", ">dropped<"), ("zh-CN", ">正常<", ">丢帧<")]
    {
        let Some(page) = seen(&served, language) else { return };
        for part in [
            live,
            dropped,
            ">front<",
            "<h1 id=\"model\">tiny</h1>",
            "1 / 1",
            "src=\"blob:",
            "class=\"curve\"",
        ] {
            assert!(page.contains(part), "{language}: {part}\n{page}");
        }
    }
}
