from django.urls import path

from containers.recordings import views

app_name = "recordings"

urlpatterns = [
    path("", views.recording_list, name="list"),
    path("<int:pk>/", views.recording_detail, name="detail"),
    path("<int:pk>/watch/", views.watch, name="watch"),
    path("<int:pk>/cast/", views.cast, name="cast"),
    path("<int:pk>/download/", views.download, name="download"),
    path("<int:pk>/remove/", views.remove, name="remove"),
]
