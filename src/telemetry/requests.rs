//! Requests by what was asked and how it was answered: on the way of every event, so a request costs two additions.

use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use super::family::Cell;
use super::table::{REQUEST_SECONDS, REQUESTS_ANSWERED};

/// What can be asked; paths have ids in them and are no labels.
const ROUTES: [&str; 12] =
    ["track", "identify", "page", "screen", "group", "alias", "batch", "import", "beacon", "settings", "api", "other"];
const OTHER: usize = 11;
/// HTTP's are 100 to 599.
const STATUSES: usize = 600;

struct Route {
    seconds: OnceLock<Arc<Cell>>,
    answered: Vec<OnceLock<Arc<Cell>>>,
}

static CELLS: LazyLock<Vec<Route>> = LazyLock::new(|| {
    let fresh = |_| Route { seconds: OnceLock::new(), answered: (0..STATUSES).map(|_| OnceLock::new()).collect() };
    (0..ROUTES.len()).map(fresh).collect()
});

/// A request of this path was answered so, after this time.
pub fn answered(path: &str, status: u16, after: Duration) {
    let route = route_of(path);
    let (Some(cells), Some(name)) = (CELLS.get(route), ROUTES.get(route)) else { return };
    cells.seconds.get_or_init(|| REQUEST_SECONDS.of(&[name])).took(after);
    if let Some(cell) = cells.answered.get(usize::from(status)) {
        cell.get_or_init(|| REQUESTS_ANSWERED.of(&[name, &status.to_string()])).add(1);
    }
}

fn route_of(path: &str) -> usize {
    let name = match path.strip_prefix('/').unwrap_or(path).split_once('/') {
        Some(("v1", call)) if call.starts_with("projects/") => "settings",
        Some(("v1", "t")) => "track",
        Some(("v1", "p")) => "page",
        Some(("v1", "i")) => "identify",
        Some(("v1", call)) => call,
        Some(("beacon", _)) => "beacon",
        Some(("api", _)) => "api",
        _ => "other",
    };
    // The names of calls are routes; a call that is none is not asked by anybody but by mistake.
    ROUTES.iter().position(|route| *route == name).unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_counted_under_one_of_few_names() {
        for (path, route) in [
            ("/v1/track", "track"),
            ("/v1/batch", "batch"),
            ("/beacon/v1/batch", "beacon"),
            ("/v1/projects/abc/settings", "settings"),
            ("/api/v1/messages/0123", "api"),
            ("/v1/zzz", "other"),
            ("/", "other"),
            ("", "other"),
        ] {
            assert_eq!(ROUTES[route_of(path)], route, "{path}");
        }
    }
}
