//! One HTTP request to a relay.

use std::time::Duration;

use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::base::{Culprit, Error, Kind, Result};
use crate::config::{HookUrl, Secret};

/// Between two attempts to connect; a request that went out is never sent again.
const AGAIN: Duration = Duration::from_millis(150);

/// Posts `body` to `url`; the caller bounds the time. 2xx is done, anything else is not.
pub(super) async fn post(url: &HookUrl, token: Option<&Secret>, body: String) -> Result<()> {
    let host = url.authority();
    let at = |what: String| format!("hook http://{host}{}: {what}", url.path);
    let stream = loop {
        match TcpStream::connect((url.host.as_str(), url.port)).await {
            Ok(stream) => break stream,
            Err(e) => {
                tracing::debug!("{}", at(format!("cannot connect: {e}")));
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    let failed = |what: &str, e: hyper::Error| {
        Error::new(Kind::Unavailable, Culprit::Host, at(what.to_owned())).with_source(e)
    };
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(16 * 1024)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| failed("cannot connect", e))?;
    let driver = tokio::spawn(async move {
        let _ = connection.await;
    });
    let mut request = Request::post(&url.path)
        .header("host", &host)
        .header("content-type", "application/json")
        .header("connection", "close");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {}", token.expose()));
    }
    let request = request.body(body).map_err(|e| Error::internal(at(e.to_string())))?;
    let response = sender.send_request(request).await.map_err(|e| failed("no answer", e));
    driver.abort();
    let status = response?.status();
    if status.is_success() {
        return Ok(());
    }
    Err(Error::new(Kind::Refused, Culprit::Host, at(format!("answered {status}")))
        .remedy("is this the relay's address, and does it know this token?"))
}
