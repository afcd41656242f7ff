"""How Sphinx builds the site. No network is needed, to build it or to read it.

The reference of the API is made of docstrings, that of the configuration of its classes and that of the jobs of their
--help, anew at each build. The pages in docs/api are generated and never committed. Equations become MathML, which
browsers show without a script from afar.
"""

import importlib
import io
import os
import pkgutil
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import hpc_massmap  # noqa: E402
from hpc_massmap import config  # noqa: E402
from hpc_massmap.cluster import site  # noqa: E402

project = "hpc_massmap"
author = "The hpc_massmap authors"
release = version = hpc_massmap.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
default_role = "code"  # docstrings put names into single backticks
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_param = False  # types are shapes and units in words, not names to link to
napoleon_custom_sections = [("Attributes", "params_style")]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100

exclude_patterns = ["pypi.md"]
html_theme = "pydata_sphinx_theme"
html_title = f"hpc_massmap {release}"
html_sidebars = {"**": ["globaltoc.html"]}
html_theme_options = {"navbar_center": [], "navbar_end": ["theme-switcher"], "footer_end": []}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"

STAGES = [
    *("cluster", "sims", "maps", "dataset", "observe", "model", "posterior", "train", "diagnostics", "predict", "tune"),
    *("metrics", "report", "pipeline", "api"),
]


def write_reference(app: Sphinx) -> None:
    """A page for each stage of the journey, and one for what all share: each module with all that is public in it."""
    folder = HERE / "api"
    folder.mkdir(exist_ok=True)
    names = [*STAGES, "shared"]
    pages = {"index": _titled("API", "=") + ".. toctree::\n\n" + "".join(f"   {name}\n" for name in names)}
    for name in names:
        package = "hpc_massmap" if name == "shared" else f"hpc_massmap.{name}"
        path = Path(hpc_massmap.__file__).parent / package.partition(".")[2]
        walk = pkgutil.iter_modules if name == "shared" else pkgutil.walk_packages
        modules = list(walk([str(path)], f"{package}."))
        found = [module.name for module in modules if not module.ispkg or module.name == config.__name__]
        opening = "What all stages share." if name == "shared" else importlib.import_module(package).__doc__
        pages[name] = f"{_titled(name, '=')}{opening}\n\n" + "".join(
            f"{_titled(module.removeprefix(f'{package}.'), '-')}.. automodule:: {module}\n   :members:\n\n"
            for module in found
        )
    for name, text in pages.items():
        page = folder / f"{name}.rst"
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def _titled(title: str, line: str) -> str:
    return f"{title}\n{line * len(title)}\n\n"


class Help(SphinxDirective):
    """What a job, and each of its verbs, says to --help."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        for file in (importlib.import_module(f"hpc_massmap.jobs.{self.arguments[0]}").__file__, __file__):
            self.env.note_dependency(str(file))
        return [nodes.literal_block(text, text, language="text") for text in help_of(self.arguments[0])]


def help_of(job: str) -> list[str]:
    """The text of --help of a job, then of each of its verbs."""
    module = importlib.import_module(f"hpc_massmap.jobs.{job}")
    texts = [_help(module, job)]
    if verbs := re.search(r"\[-h\] ((?:\w+ )*)(\w+(?:\|\w+)+) \.\.\.", texts[0]):
        texts += [_help(module, job, *verbs[1].split(), verb) for verb in verbs[2].split("|")]
    return texts


def _help(module: Any, job: str, *words: str) -> str:
    told, argv, columns = io.StringIO(), sys.argv, os.environ.get("COLUMNS")
    sys.argv, os.environ["COLUMNS"] = [f"{job}.py"], "100"
    try:
        with redirect_stdout(told), suppress(SystemExit):
            module.main([*words, "--help"])
    finally:
        sys.argv = argv
        os.environ.pop("COLUMNS") if columns is None else os.environ.update(COLUMNS=columns)
    return told.getvalue()


KINDS: dict[str, type[BaseModel]] = {"Config": config.Config, "Site": site.Site}


class Keys(SphinxDirective):
    """The keys of `Config` or `Site` and of their sections: what is allowed, the default, what it means."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        for file in (*Path(config.__file__).parent.glob("*.py"), site.__file__, __file__):
            self.env.note_dependency(str(file))
        return self.parse_text_to_nodes("\n".join(_tables(KINDS[self.arguments[0]], "")))


def _tables(model: type[BaseModel], prefix: str) -> Iterator[str]:
    schema = model.model_json_schema()
    yield f"{(model.__doc__ or '').strip()}\n"
    inner, rows = [], []
    for key, field in model.model_fields.items():
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        section = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if section:
            of_many = getattr(field.annotation, "__origin__", None) is dict
            inner.append((section, f"{prefix}{key}.NAME." if of_many else f"{prefix}{key}."))
            continue
        default = "needed" if field.is_required() else f"`{_shown(field.default)}`"
        meaning = " ".join((field.description or "").split())
        rows.append(f"| `{prefix}{key}` | {_allowed(schema['properties'][key])} | {default} | {meaning} |")
    if rows:
        yield from ("| key | allowed | default | |\n|---|---|---|---|", *rows)
    for section, name in inner:
        yield f"\n**`{name.removesuffix('.')}`**\n"
        yield from _tables(section, name)


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "none" if value is None else str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _allowed(schema: dict[str, Any]) -> str:
    """What a key may be, from its JSON schema, in words."""
    if "anyOf" in schema:
        return " or ".join(_allowed(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "prefixItems" in schema:
        return f"[{', '.join(_allowed(one) for one in schema['prefixItems'])}]"
    kind = {"null": "none", "string": schema.get("format", "text"), "array": "list", "object": "mapping"}.get(
        schema.get("type", ""), schema.get("type", "anything")
    )
    if "items" in schema:
        kind += f" of {_allowed(schema['items'])}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return " ".join([kind, *(f"{sign} {schema[bound]:g}" for bound, sign in signs.items() if bound in schema)])


def show_math(translator: Any, node: Any) -> None:
    """An equation as MathML."""
    translator.body.append(tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block)))
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write_reference)
    app.add_directive("help", Help)
    app.add_directive("keys", Keys)
    app.add_html_math_renderer("mathml", (show_math, None), (show_math, None))
