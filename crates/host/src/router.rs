//! Who answers a path.

use std::collections::HashMap;

use dhow_manifest::{Entry, PathPattern, Route, Segment};

/// Finds the entry for a path: a tree of segments, in which text is tried before a parameter,
/// and a parameter before the rest. The time grows with the length of the path, not with the number
/// of routes.
#[derive(Default)]
pub(crate) struct Router {
    root: Node,
}

/// Where patterns go on after the segments that led here. A target is an index of an entry.
#[derive(Default)]
struct Node {
    texts: HashMap<String, Node>,
    parameter: Option<Box<Node>>,
    /// For what ends here.
    end: Option<usize>,
    /// For what goes on in any way, or not at all.
    rest: Option<usize>,
}

impl Router {
    /// A router that gives the index in `entries` of the one that a route leads to.
    ///
    /// # Errors
    /// When a route leads to none, which no route of a checked manifest does.
    pub(crate) fn new<'a>(
        routes: &[Route],
        entries: impl Iterator<Item = &'a Entry> + Clone,
    ) -> Result<Self, String> {
        let mut router = Self::default();
        for Route { path, entry } in routes {
            let Some(index) = entries.clone().position(|known| known == entry) else {
                return Err(format!("`{path}` leads to `{entry}`, which does not exist"));
            };
            router.insert(path, index);
        }
        Ok(router)
    }

    fn insert(&mut self, pattern: &PathPattern, target: usize) {
        let mut node = &mut self.root;
        for segment in pattern.segments() {
            node = match segment {
                Segment::Text(text) => node.texts.entry(text.clone()).or_default(),
                Segment::Parameter(_) => node.parameter.get_or_insert_default(),
                Segment::Rest => {
                    node.rest = Some(target);
                    return;
                }
            };
        }
        node.end = Some(target);
    }

    pub(crate) fn find(&self, path: &str) -> Option<usize> {
        self.root.find(path.strip_prefix('/'))
    }
}

impl Node {
    /// `path` is what follows the slash, where there is one.
    fn find(&self, path: Option<&str>) -> Option<usize> {
        let Some(path) = path else { return self.end.or(self.rest) };
        let (segment, following) = match path.split_once('/') {
            Some((segment, following)) => (segment, Some(following)),
            None => (path, None),
        };
        let by_text = || self.texts.get(segment)?.find(following);
        let by_parameter = || match &self.parameter {
            Some(node) if !segment.is_empty() => node.find(following),
            _ => None,
        };
        by_text().or_else(by_parameter).or(self.rest)
    }
}

#[cfg(test)]
mod tests {
    use dhow_manifest::Name;

    use super::*;

    fn router(routes: &[&str]) -> impl Fn(&str) -> Option<String> {
        let entries: Vec<_> = (0..routes.len())
            .map(|index| Entry::plain(Name::new(&format!("c{index}")).unwrap()))
            .collect();
        let parsed: Vec<_> = routes
            .iter()
            .zip(&entries)
            .map(|(path, entry)| Route {
                path: PathPattern::parse(path).unwrap(),
                entry: entry.clone(),
            })
            .collect();
        let router = Router::new(&parsed, entries.iter()).unwrap();
        let routes: Vec<_> = routes.iter().map(|&route| route.to_owned()).collect();
        move |path| router.find(path).map(|index| routes[index].clone())
    }

    #[test]
    fn the_more_exact_pattern_wins() {
        let routes =
            ["/...", "/cart", "/cart/:id", "/cart/:id/...", "/cart/new", "/static/...", "/"];
        let find = router(&routes);
        for (path, route) in [
            ("/", "/"),
            ("/x", "/..."),
            ("/cart", "/cart"),
            ("/cart/", "/..."),
            ("/cart/7", "/cart/:id"),
            ("/cart/new", "/cart/new"),
            ("/cart/new/x", "/cart/:id/..."),
            ("/cart/7/x/y", "/cart/:id/..."),
            ("/cart//x", "/..."),
            ("/static", "/static/..."),
            ("/static/", "/static/..."),
            ("/static/a/b", "/static/..."),
            ("/staticx", "/..."),
        ] {
            assert_eq!(find(path).as_deref(), Some(route), "{path}");
        }
    }

    #[test]
    fn what_no_pattern_matches_has_no_component() {
        let find = router(&["/a", "/b/:x/...", "/b/:y", "/c/:x/d"]);
        assert_eq!(find("/"), None);
        assert_eq!(find("/a/"), None);
        assert_eq!(find("/b/1/2").as_deref(), Some("/b/:x/..."));
        assert_eq!(find("/b/1").as_deref(), Some("/b/:y"));
        assert_eq!(find("/c/1/d").as_deref(), Some("/c/:x/d"));
        assert_eq!(find("/c/1"), None);
        assert_eq!(find("*"), None);
    }
}
