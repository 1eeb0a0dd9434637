"""The driver: the only place where consensus, storage, network and state machine meet."""
