"""Reports of results: pages in HTML and Markdown, charts, sheets of pictures."""
