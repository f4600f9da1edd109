"""People, roles, and the decision of who may do what. Import `allows`, `visible`, `require` from `access.decide`."""
