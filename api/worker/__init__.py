"""Who starts and runs jobs. The only room that knows every kind of job."""
