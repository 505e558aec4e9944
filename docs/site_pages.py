"""What mkdocs makes pages of: files under their paths in the repository, so that a link that works
there works on the site (`hooks` in mkdocs.yml).
"""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = ("*.md", "docs/**/*.md", "benchmarks/README.md", "claims/**/*.yaml", "LICENSE")
RESULTS = ("README.md", "claims.md", "*.png")  # of the sweeps in outputs/ that have a README


def paths() -> list[Path]:
    """Files of the site, docs/ itself included."""
    found = [path for pattern in PAGES for path in ROOT.glob(pattern)]
    for page in ROOT.glob("outputs/*/README.md"):
        found += [path for pattern in RESULTS for path in page.parent.glob(pattern)]
    return sorted(found)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The theme's files and `paths()`; those that mkdocs found in docs/ come by their path here."""
    kept = [file for file in files if file.src_dir != config.docs_dir]
    ours = [
        File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path))
        for path in paths()
    ]
    return Files([*kept, *ours])
