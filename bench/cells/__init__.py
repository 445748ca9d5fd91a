"""One cell, from victim to scores: each stage cached alone, then a record, rows and a contact sheet."""
