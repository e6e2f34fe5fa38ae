"""One importer and exporter a file format."""
