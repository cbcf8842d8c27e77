"""The clients of endpoints and of the worker's own server, and the pace of their requests. None knows a job."""
