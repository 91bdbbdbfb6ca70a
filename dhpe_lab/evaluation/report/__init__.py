"""What is written of results: pages in HTML and Markdown, charts, sheets of pictures."""
