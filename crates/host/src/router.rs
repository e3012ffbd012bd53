//! Which component answers a path.

use dhow_manifest::{Name, PathPattern, Route, Segment};

/// Finds the component for a path, in time that does not grow with the number of routes.
pub(crate) struct Router(matchit::Router<usize>);

impl Router {
    /// A router that gives the index in `components` of the component that a route leads to.
    ///
    /// # Errors
    /// When two patterns match the same paths, which a checked manifest does not have.
    pub(crate) fn new<'a>(
        routes: &[Route],
        components: impl Iterator<Item = &'a Name> + Clone,
    ) -> Result<Self, String> {
        let mut router = matchit::Router::new();
        let mut bare = Vec::new();
        for Route { path, component } in routes {
            let Some(index) = components.clone().position(|name| name == component) else {
                return Err(format!("`{path}` leads to `{component}`, which does not exist"));
            };
            let paths = MatchitPaths::of(path);
            router.insert(paths.pattern, index).map_err(|error| format!("`{path}`: {error}"))?;
            bare.extend(paths.bare.into_iter().map(|bare| (bare, index)));
        }
        for (path, index) in bare {
            // Where a route of its own leads there, that is the more exact one.
            let _ = router.insert(path, index);
        }
        Ok(Self(router))
    }

    pub(crate) fn find(&self, path: &str) -> Option<usize> {
        self.0.at(path).ok().map(|found| *found.value)
    }
}

/// A pattern in matchit's syntax.
struct MatchitPaths {
    pattern: String,
    /// What a pattern that ends in `...` matches besides: matchit's wildcard is never empty.
    bare: Vec<String>,
}

impl MatchitPaths {
    fn of(pattern: &PathPattern) -> Self {
        let mut text = String::new();
        for (index, segment) in pattern.segments().iter().enumerate() {
            match segment {
                Segment::Text(literal) => text.push_str(&format!("/{literal}")),
                // Its own name does not matter, and must be the same for all at this place.
                Segment::Parameter(_) => text.push_str(&format!("/{{p{index}}}")),
                Segment::Rest => {
                    let pattern = format!("{text}/{{*rest}}");
                    let with_slash = format!("{text}/");
                    let bare =
                        if text.is_empty() { vec![with_slash] } else { vec![text, with_slash] };
                    return Self { pattern, bare };
                }
            }
        }
        Self { pattern: text, bare: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(routes: &[&str]) -> impl Fn(&str) -> Option<String> {
        let names: Vec<_> =
            (0..routes.len()).map(|index| Name::new(&format!("c{index}")).unwrap()).collect();
        let parsed: Vec<_> = routes
            .iter()
            .zip(&names)
            .map(|(path, component)| Route {
                path: PathPattern::parse(path).unwrap(),
                component: component.clone(),
            })
            .collect();
        let router = Router::new(&parsed, names.iter()).unwrap();
        let routes: Vec<_> = routes.iter().map(|&route| route.to_owned()).collect();
        move |path| router.find(path).map(|index| routes[index].clone())
    }

    #[test]
    fn the_more_exact_pattern_wins() {
        let find = router(&["/...", "/cart", "/cart/:id", "/cart/new", "/static/...", "/"]);
        for (path, route) in [
            ("/", "/"),
            ("/x", "/..."),
            ("/cart", "/cart"),
            ("/cart/", "/..."),
            ("/cart/7", "/cart/:id"),
            ("/cart/new", "/cart/new"),
            ("/cart/new/x", "/..."),
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
        let find = router(&["/a", "/b/:x/...", "/b/:y"]);
        assert_eq!(find("/"), None);
        assert_eq!(find("/a/"), None);
        assert_eq!(find("/b/1/2").as_deref(), Some("/b/:x/..."));
        assert_eq!(find("*"), None);
    }
}
