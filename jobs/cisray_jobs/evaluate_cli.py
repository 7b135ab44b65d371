"""The commands `cisray evaluate`: scores held against what is known, as the paper did.

Knows options and exit codes; what is done is the business of the modules that are called. Heavy
imports wait until a command needs them.
"""

import typer

evaluate_app = typer.Typer(
    help="Hold scores against what is known: eQTLs and their directions.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@evaluate_app.callback()
def _root() -> None:
    """Hold scores against what is known: eQTLs and their directions."""
