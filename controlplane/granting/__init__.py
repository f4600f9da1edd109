"""The pages of teams, roles and grants, and of why somebody may do something. They show hosts, images and containers
that a grant covers, so they stand above all of those."""
