"""`python -m localrouter.api.openapi` prints the OpenAPI document, as a server with an API key serves it."""

import rich_click as click

from localrouter.api.openapi.document import document_body

if __name__ == "__main__":
    click.echo(document_body(locked=True))
