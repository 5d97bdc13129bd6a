//! What the one who started the benchmark wants of it.

/// The words of the command line, understood.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Play everything once, very small: only to see that it works.
    pub small: bool,
    /// Put the results into the documents.
    pub write: bool,
    /// Names of lines; all where empty.
    only: Vec<String>,
    /// Sizes of the standard store, rising.
    pub sizes: Vec<usize>,
}

impl Asked {
    /// From the command line, with the sizes of a small run and of a whole one. `cargo bench` says `--bench`; `cargo test` does not.
    pub fn from_args(small_sizes: &[usize], whole_sizes: &[usize]) -> Self {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let small = args.iter().any(|arg| arg == "--test") || !args.iter().any(|arg| arg == "--bench");
        let mut asked = Asked {
            small,
            write: false,
            only: Vec::new(),
            sizes: if small { small_sizes } else { whole_sizes }.to_vec(),
        };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut words = || -> Vec<String> {
                let text = args.next().unwrap_or_else(|| panic!("{arg} needs words after it, with commas between"));
                text.split(',').map(str::to_owned).collect()
            };
            match arg.as_str() {
                "--bench" | "--test" => {}
                "--write" => asked.write = true,
                "--only" => asked.only = words(),
                "--sizes" => asked.sizes = words().iter().map(|n| n.parse().expect("a number of tasks")).collect(),
                other => panic!("{other} is not known; there are --only, --sizes, --write and --test"),
            }
        }
        asked.sizes.sort_unstable();
        assert!(!asked.sizes.is_empty() && asked.sizes[0] >= 40, "a store has at least 40 tasks");
        assert!(!(asked.small && asked.write), "figures of a small run are not for the documents");
        asked
    }

    /// Whether a line of this name is to be measured.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// Whether any of these is.
    pub fn wants_any(&self, names: &[&[&str]]) -> bool {
        names.iter().flat_map(|names| names.iter()).any(|name| self.wants(name))
    }

    /// The size at which what is not measured at every size is: 10 000, where it is among them.
    pub fn middle(&self) -> usize {
        let fitting = self.sizes.iter().rfind(|n| **n <= 10_000).unwrap_or(&self.sizes[0]);
        if self.small { self.sizes[1.min(self.sizes.len() - 1)] } else { *fitting }
    }

    /// The largest size.
    pub fn largest(&self) -> usize {
        self.sizes[self.sizes.len() - 1]
    }

    /// Whether everything was measured.
    pub fn is_everything(&self) -> bool {
        self.only.is_empty()
    }
}
