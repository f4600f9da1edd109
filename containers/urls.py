from django.urls import path

from containers import change_views, run_views, stream_views, views

app_name = "containers"

urlpatterns = [
    path("", views.container_list, name="list"),
    path("run/", run_views.run, name="run"),
    path("do/<slug:verb>/", views.act, name="act"),
    path("<int:pk>/", views.container_detail, name="detail"),
    path("<int:pk>/inspect/", views.inspect, name="inspect"),
    path("<int:pk>/reveal/", views.reveal, name="reveal"),
    path("<int:pk>/rename/", views.rename, name="rename"),
    path("<int:pk>/update/", change_views.update, name="update"),
    path("<int:pk>/commit/", change_views.commit, name="commit"),
    path("<int:pk>/duplicate/", run_views.duplicate, name="duplicate"),
    path("<int:pk>/logs/", stream_views.logs, name="logs"),
    path("<int:pk>/logs/download/", stream_views.download_logs, name="logs-download"),
    path("<int:pk>/terminal/", stream_views.terminal, name="terminal"),
]
