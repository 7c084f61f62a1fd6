"""What people read of the results: tables, drawings, the page. Written from results/ alone."""
