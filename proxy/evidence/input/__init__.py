"""What evidence is made of: readings in request order, as columns, and the reference they are measured by."""
