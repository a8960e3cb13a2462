//! Connections: how many there may be, and how long one may be silent.
use super::Shared;
use crate::ServeError;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;

/// Headers must be whole so long after a connection was opened, or after the last answer on it, or sooner where the settings allow a
/// request less.
const HEADERS_WITHIN: Duration = Duration::from_secs(15);

/// A client that takes nothing of an answer for so long is gone.
const TAKES_WITHIN: Duration = Duration::from_secs(15);

/// The wait after a connection could not be taken: most often there are no file descriptors left.
const AFTER_AN_ERROR: Duration = Duration::from_millis(100);

/// Where HTTP is listened for.
pub(crate) struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Listens; the system chooses the port where it is 0.
    ///
    /// # Errors
    /// `Listen`.
    pub(crate) fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let bind = || -> io::Result<Self> {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(Self { address: listener.local_addr()?, listener })
        };
        bind().map_err(|source| ServeError::Listen { address, source })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until everything ends.
    pub(super) async fn serve(self, shared: &Arc<Shared>, router: Router) {
        let hub = &shared.context.hub;
        // A listener that was bound, inside of a runtime: it is not refused.
        let Ok(listener) = tokio::net::TcpListener::from_std(self.listener) else {
            return hub.fail();
        };
        let connections = Arc::new(Semaphore::new(shared.context.settings.http.max_connections));
        let mut stopped = pin!(hub.stopped());
        loop {
            // More than may be open wait in the system's queue. Nobody closes this semaphore.
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut stopped => return,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(AFTER_AN_ERROR).await;
                continue;
            };
            let (router, shared) = (router.clone(), Arc::clone(shared));
            tokio::spawn(async move {
                answer(stream, router, &shared).await;
                drop(permit);
            });
        }
    }
}

/// Answers what comes on a connection until it ends.
async fn answer(stream: TcpStream, router: Router, shared: &Shared) {
    // Answers are small and awaited; where the system refuses it they come later.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(TAKES_WITHIN));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN.min(shared.timeout));
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(http.serve_connection(TokioIo::new(Box::pin(stream)), service));
    // Whatever ends a connection ends nothing else.
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = shared.context.hub.stopped() => None,
    };
    if ended.is_none() {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}
