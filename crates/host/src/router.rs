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
        for Route { path, component } in routes {
            let Some(index) = components.clone().position(|name| name == component) else {
                return Err(format!("`{path}` leads to `{component}`, which does not exist"));
            };
            for text in matchit_paths(path) {
                router.insert(text, index).map_err(|error| format!("`{path}`: {error}"))?;
            }
        }
        Ok(Self(router))
    }

    pub(crate) fn find(&self, path: &str) -> Option<usize> {
        self.0.at(path).ok().map(|found| *found.value)
    }
}

/// `pattern` in matchit's syntax. What ends in `...` needs three: matchit's wildcard is never
/// empty.
fn matchit_paths(pattern: &PathPattern) -> Vec<String> {
    let mut text = String::new();
    for (index, segment) in pattern.segments().iter().enumerate() {
        match segment {
            Segment::Text(literal) => {
                text.push('/');
                text.push_str(literal);
            }
            // Its own name does not matter, and must be the same for all at this place.
            Segment::Parameter(_) => text.push_str(&format!("/{{p{index}}}")),
            Segment::Rest if text.is_empty() => return vec!["/".into(), "/{*rest}".into()],
            Segment::Rest => {
                return vec![text.clone(), format!("{text}/"), format!("{text}/{{*rest}}")];
            }
        }
    }
    vec![text]
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
