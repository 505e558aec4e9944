"""LaTeX tables compile."""

import subprocess

from helpers.commands import need
from helpers.table_data import page, with_odd_names

HEAD = r"\documentclass{article}\usepackage{booktabs}\begin{document}"


def test_tables_compile(tmp_path):
    """All cases are in one document, since starting LaTeX is what takes time."""
    pdflatex = need("pdflatex")
    tables = [page(*with_odd_names(), format="latex", against=a) for a in (None, "bt_mlp")]
    (tmp_path / "page.tex").write_text("\n".join([HEAD, *tables, r"\end{document}"]))
    command = [pdflatex, "-halt-on-error", "-interaction=nonstopmode", "page.tex"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout
