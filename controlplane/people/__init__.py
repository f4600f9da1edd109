"""The pages by which people come in: they join access with the audit trail, so they stand above both."""
