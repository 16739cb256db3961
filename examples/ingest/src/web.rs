//! The page. Everything in it can be read, and nothing changed.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Response, header};
use axum::middleware;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::WatchStream;
use tower_http::services::ServeDir;

use crate::streams::Streams;

/// hls.js makes its own media source. Names and encoders are strangers' words: no script but ours runs.
const POLICY: &str = "default-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

pub fn router(streams: Arc<Streams>, previews: Option<&Path>) -> Router {
    let mut router = Router::new()
        .route(
            "/",
            file(
                "text/html; charset=utf-8",
                include_str!("../web/index.html"),
            ),
        )
        .route(
            "/style.css",
            file("text/css; charset=utf-8", include_str!("../web/style.css")),
        )
        .route(
            "/icon.svg",
            file("image/svg+xml", include_str!("../web/icon.svg")),
        )
        .route("/page.js", file(JAVASCRIPT, include_str!("../web/page.js")))
        .route(
            "/hls.js",
            file(JAVASCRIPT, include_str!("../web/vendor/hls.light.min.js")),
        )
        .route("/streams", get(snapshot))
        .route("/events", get(events));
    if let Some(previews) = previews {
        router = router.nest_service("/preview", ServeDir::new(previews));
    }
    router
        .layer(middleware::map_response(with_headers))
        .with_state(streams)
}

fn file(
    content_type: &'static str,
    text: &'static str,
) -> axum::routing::MethodRouter<Arc<Streams>> {
    get(move || async move { ([(header::CONTENT_TYPE, content_type)], text) })
}

/// All streams, as JSON.
async fn snapshot(State(streams): State<Arc<Streams>>) -> impl IntoResponse {
    let page = streams.page().borrow().to_string();
    ([(header::CONTENT_TYPE, "application/json")], page)
}

/// The same, now and once a second.
async fn events(State(streams): State<Arc<Streams>>) -> impl IntoResponse {
    let pages = WatchStream::new(streams.page());
    let events = pages.map(|page| Ok::<_, Infallible>(Event::default().data(&*page)));
    Sse::new(events).keep_alive(KeepAlive::default())
}

async fn with_headers(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    // Playlists change under their names.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
